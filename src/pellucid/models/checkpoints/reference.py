"""``Reference``: the names and shapes of an architecture's weights, found without allocating them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.core.torch_private import CONVOLUTION
from pellucid.models.checkpoints.pooling import Pool, pool_before, timm_pool

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
FILLING = {
    *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.fill_, torch.Tensor.zero_),
    *(nn.init.normal_, nn.init.uniform_, nn.init.constant_, nn.init.kaiming_uniform_),
}
"""What fills a tensor: those of ``nn.init`` that a mode sees itself, without the methods that they call."""


@dataclass(frozen=True)
class LayerSizes:
    """The sizes of a state's layers, with one of the first two axes left open."""

    known: frozenset[tuple[int, ...]]

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> LayerSizes:
        """Collect the sizes of a state's weights, and of layers that take half of the features, as before fastai's."""
        sizes = {tuple(value.shape) for value in state.values()}
        halves = {(size[0], size[1] // 2) for size in sizes if len(size) == 2}  # two features of each channel
        return cls(frozenset(loose for size in sizes | halves for loose in _loose(size)))

    def __contains__(self, size: tuple[int, ...]) -> bool:
        return not self.known.isdisjoint(_loose(size))


def _loose(size: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the size with the first axis left open, and with the second."""
    return (-1, *size[1:]), (*size[:1], -1, *size[2:])


class MisfitError(RuntimeError):
    """A constructor made a layer whose size the weights do not have."""


class _Weightless(TorchFunctionMode):
    """Allocate no memory for parameters. Other tensors stay real: some constructors compute with them."""

    def __init__(self, sizes: LayerSizes | None = None) -> None:
        super().__init__()
        self._sizes = sizes

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.empty:
            made = func(*args, **{**(kwargs or {}), "device": "meta"})
            if self._sizes is not None and tuple(made.shape) not in self._sizes:
                raise MisfitError
            return made
        if func in FILLING and (filled := args[0] if args else (kwargs or {})["tensor"]).is_meta:
            return filled  # filling takes half of the time, and is not needed
        return func(*args, **(kwargs or {}))


@contextmanager
def weightless(sizes: LayerSizes | None = None) -> Iterator[None]:
    """Build models without memory for their weights, without warnings or a change of the random state.

    With ``sizes``, a model that makes a layer of any other size is given up: ``MisfitError``.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), _Weightless(sizes):
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Slot:
    """A place for a head: the module whose weights are replaced, the features that it takes, where new layers go.

    ``pool`` is the pooling right before it, if it is a module. ``cut``: only for fastai's heads, which follow all that
    is before the architecture's last child; ``pool`` is timm's then, and may be that child.
    """

    name: str
    width: int
    target: str
    pool: Pool | None = None
    cut: bool = False


@dataclass(frozen=True, eq=False)
class Reference:
    """The weights of one architecture: their shapes, and the layers whose sizes depend on the task."""

    spec: str
    shapes: Mapping[str, tuple[int, ...]]
    heads: tuple[str, ...]
    first: str | None
    children: tuple[str, ...]
    slots: tuple[Slot, ...] = ()

    @property
    def free(self) -> dict[str, int]:
        """The axis of each weight that depends on the number of classes or of input channels."""
        axes = {f"{head}.{kind}": 0 for head in self.heads for kind in ("weight", "bias")}
        axes |= {key: 0 for key in self.shapes if key.startswith(AUXILIARY)}
        return axes | ({f"{self.first}.weight": 1} if self.first else {})

    def shapes_fit(self, state: Mapping[str, Tensor]) -> bool:
        """Whether weights of the architecture's names have its shapes, but for classes and input channels."""
        free = self.free
        return all(
            _without(value.shape, free.get(key)) == _without(self.shapes[key], free.get(key))
            for key, value in state.items()
        )

    def sizes(self, state: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
        """Return the numbers of classes and of input channels of the weights, where they show."""
        head = state.get(f"{self.heads[0]}.weight") if self.heads else None
        first = state.get(f"{self.first}.weight")
        classes = head.shape[0] if head is not None and head.ndim else None
        return classes, first.shape[1] if first is not None and first.ndim > 1 else None


def needed(names: Mapping[str, object]) -> set[str]:
    """Return the names of weights that a file must contain."""
    return {name for name in names if not name.endswith("num_batches_tracked")}


def _without(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    return tuple(size for i, size in enumerate(shape) if i != axis)


def describe(spec: str, model: nn.Module) -> Reference:
    """Describe a model's weights. timm states the head and the first layer; otherwise they are the last and first."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if torch.is_tensor(value)}
    named = getattr(model, "pretrained_cfg", None)
    named = named if isinstance(named, Mapping) else {}
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.Linear, CONVOLUTION))]
    heads = _known(named.get("classifier"), shapes) or tuple(name for name, _ in layers[-1:])
    convolutions = tuple(name for name, m in layers if isinstance(m, CONVOLUTION))
    first = (*_known(named.get("first_conv"), shapes), *convolutions)
    children = tuple(name for name, _ in model.named_children())
    slots = (*_slots(model, heads[0]), *_cut(model, heads[0])) if len(heads) == 1 else ()
    return Reference(spec, shapes, heads, first[0] if first else None, children, slots)


def _slots(model: nn.Module, head: str) -> Iterator[Slot]:
    """Yield the linear head, and each ``nn.Sequential`` that ends in it and has no weights but of linear layers."""
    last = model.get_submodule(head)
    if head and isinstance(last, nn.Linear):
        yield Slot(head, last.in_features, head, None if "." in head else pool_before(model, head, last.in_features))
    outer = head.rpartition(".")[0]
    while outer and isinstance(row := model.get_submodule(outer), nn.Sequential):
        inner = [module for module in row.modules() if next(module.parameters(recurse=False), None) is not None]
        if inner[-1] is not last or not all(isinstance(module, nn.Linear) for module in inner):
            return
        width: int = inner[0].in_features  # type: ignore[assignment]
        pool = None if "." in outer else pool_before(model, outer, width)
        yield Slot(outer, width, head if len(inner) == 1 else outer, pool)
        outer = outer.rpartition(".")[0]


def _cut(model: nn.Module, head: str) -> Iterator[Slot]:
    """Yield the last child, if it holds the head."""
    last, child = model.get_submodule(head), head.partition(".")[0]
    channels = last.in_features if isinstance(last, nn.Linear) else getattr(last, "in_channels", None)
    children = [name for name, _ in model.named_children()]
    if isinstance(channels, int) and len(children) > 1 and child == children[-1]:
        pool = timm_pool(model, child)
        yield Slot(child, channels, child, None if pool is None else Pool(pool, channels), cut=True)


def _known(names: object, shapes: Mapping[str, object]) -> tuple[str, ...]:
    listed = names if isinstance(names, tuple | list) else [names]
    return tuple(str(name) for name in listed if f"{name}.weight" in shapes)
