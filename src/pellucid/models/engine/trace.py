"""What happens in a forward pass: which module finished when, with what output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.weak import TensorWeakRef

from pellucid.core.inputs import Images
from pellucid.models.attention import Call
from pellucid.models.engine.capture import first_tensor
from pellucid.models.engine.weighing import Weighing
from pellucid.models.tokens import Layout, Places, infer

Key = tuple[object, ...]
_PER_SHAPE: WeakKeyDictionary[nn.Module, dict[Key, Trace]] = WeakKeyDictionary()


@dataclass
class _Open:
    """A module that has begun, the shape of what it got, and the tensors that modules within it got."""

    name: str
    shape: tuple[int, ...]
    within: dict[str, TensorWeakRef] = field(default_factory=dict)


@dataclass
class Trace:
    """One image's pass. Names and shapes only: a trace keeps no tensor and no module alive."""

    channels: int
    places: Places
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Each module's output shape with its batch axis, in the order in which the modules finished last."""
    runs: dict[str, int] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    """The modules whose outputs are attention weights."""
    first_convolution: str | None = None
    answer: tuple[int, ...] = ()
    """The shape of the class scores: (1, C), or of a map of them (1, C, *space)."""
    writes_input: bool = False
    """Whether the network changes its input in place."""
    calls: list[Call] = field(default_factory=list)
    """The attentions, in order."""
    read: tuple[int, ...] | None = None
    """Of a network with attention: off which tokens its scores are read. None: not looked yet."""
    idle: frozenset[int] = frozenset()
    """Of the attentions that pool the tokens, those on which no score depends."""
    beside: frozenset[int] | None = None
    """The attentions that do not depend on the one before. None: not looked yet."""
    branches: set[str] = field(default_factory=set)
    """The modules that get the same tensor as another one beside them: each computes only a part of what follows."""
    _open: list[_Open] = field(default_factory=list)

    def begin(self, name: str, inputs: object) -> None:
        """A module begins."""
        given = first_tensor(inputs)
        if self._open and given is not None:
            beside = self._open[-1].within
            shared = [other for other, tensor in beside.items() if tensor() is given]
            self.branches.update([name, *shared] if shared else [])
            beside[name] = TensorWeakRef(given)  # held, the inputs of a whole network would be kept
        self._open.append(_Open(name, () if given is None else tuple(given.shape)))

    def attend(self, number: int, weighing: Weighing) -> None:
        """An attention is computed."""
        sequences, heads, queries, keys = weighing.shape
        if sequences > 1 and self._open and keys in _places_of(self._open[-1].shape):
            # What its module got is one sequence: these are its heads, computed as if they were images.
            sequences, heads = 1, sequences * heads
        modules = tuple(part.name for part in self._open)
        self.calls.append(Call(number, modules, (sequences, heads, queries, keys), weighing.fused))

    @property
    def has_tokens_first(self) -> bool:
        """Whether an output has its tokens before the images, (T, B, C)."""
        shapes = [shape for shape in self.shapes.values() if len(shape) == 3 and shape[0] > 1 == shape[1]]
        return any(infer(shape, self.places) is not None for shape in shapes)

    def counts(self) -> set[int]:
        """The numbers of places that outputs have, of tokens or of grids."""
        return {count for shape in self.shapes.values() for count in _places_of(shape)}

    def note(self, name: str, module: nn.Module, output: object) -> None:
        """A module finished."""
        while self._open.pop().name != name:
            pass  # one that an exception left
        self.runs[name] = self.runs.get(name, 0) + 1
        tensor = first_tensor(output)
        got = self._open[-1].within.get(name) if self._open else None
        if got is not None and got() is tensor:
            self._open[-1].within.pop(name)  # it passes on what it got: what gets that next stands behind it
        if tensor is None:
            return
        self.shapes.pop(name, None)
        self.shapes[name] = tuple(tensor.shape)
        self.weights.discard(name)
        if _is_attention(tensor):
            self.weights.add(name)
        if isinstance(module, _ConvNd) and tensor.ndim == len(self.places.size) + 2:
            self.first_convolution = self.first_convolution or name
            grid, places = tuple(tensor.shape[2:]), self.places
            # What is not of one image may be of single patches, or of single heads.
            grids = places.grids if len(tensor) == 1 else places.hints
            grids.extend([] if grid in grids else [grid])
            places.widths.add(tensor.shape[1])

    def layout(self, name: str, module: nn.Module) -> Layout | None:
        """How the output of the module of this name lies on the picture; None if it has no places."""
        if name in self.weights:
            return None
        return infer(self.shapes[name], self.places, last_features(module), is_of_last_axis(module))


def _places_of(shape: Sequence[int]) -> set[int]:
    """How many places an output of one image has, read as tokens, with the channels first, and with them last."""
    if len(shape) == 3 and 1 in shape[:2]:
        return {shape[0] * shape[1]}
    return {math.prod(shape[2:]), math.prod(shape[1:-1])} if len(shape) > 3 and shape[0] == 1 else set()


def _is_attention(tensor: Tensor) -> bool:
    """Whether an output is a matrix of weights from places to places, and no picture."""
    if tensor.ndim != 4 or tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] == 1:
        return False
    sums = tensor.sum(dim=-1)
    return bool((tensor >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-2)


def last_features(module: nn.Module) -> int | None:
    """How many features a module's norms and linear layers say the last axis has."""
    counts = [_features(part) for part in module.modules()]
    known = [count for count in counts if count is not None]
    return known[-1] if known else None


def is_of_last_axis(module: nn.Module) -> bool:
    """Whether a module is itself a layer that works on the last axis."""
    return _features(module) is not None


def _features(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    # Subclasses of LayerNorm (LayerNorm2d) may norm another axis.
    return module.normalized_shape[0] if type(module) is nn.LayerNorm else None


def written(given: Images, images: Images) -> bool:
    """Whether what a network was given, clones of the images, has been written into.

    A write through ``.data`` leaves the version as it is, one that changes no value of this image the values.
    """
    pairs = zip(_tensors(given), _tensors(images), strict=True)
    return any(new._version > 0 or not torch.equal(new, old) for new, old in pairs)


def _tensors(images: Images) -> list[Tensor]:
    return list(images.values()) if isinstance(images, Mapping) else [images]


def remembered(model: nn.Module) -> dict[Key, Trace]:
    """The traces of a model, by what they depend on; gone when the model is."""
    return _PER_SHAPE.setdefault(model, {})


def structure_of(model: nn.Module) -> int:
    """What of a model a trace depends on, in one number."""
    # With its type, since a new module may get the identity of one that is gone.
    modules = tuple((name, id(module), type(module)) for name, module in model.named_modules())
    sizes = tuple(parameter.shape for parameter in model.parameters())
    # How it is set: timm's transformers are told by a text what they classify by.
    settings = tuple((key, value) for key, value in vars(model).items() if isinstance(value, str))
    return hash((modules, sizes, settings))


def key_of(structure: int, images: Images) -> Key:
    """What a trace depends on: the model's structure, and the inputs' names and shapes but for the batch."""
    named = images.items() if isinstance(images, Mapping) else [("", images)]
    return structure, tuple((name, tuple(tensor.shape[1:])) for name, tensor in named)
