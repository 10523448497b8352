"""A network compiled as a whole, with a place at each layer where a gradient can be taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pellucid.core.inputs import Images, explained
from pellucid.errors import OptionError
from pellucid.models.engine.capture import first_tensor, replaced

_Key = tuple[object, ...]
_PROGRAMS: WeakKeyDictionary[nn.Module, dict[_Key, dict[int, Program]]] = WeakKeyDictionary()
"""What was compiled of a network, by what was asked and the number of images."""


@dataclass(frozen=True)
class Place:
    """A layer, the shape of its output for these images, and which of its axes they lie along."""

    module: nn.Module
    shape: tuple[int, ...]
    axis: int

    def zeros(self, like: Tensor, images: int) -> Tensor:
        """What is added to the layer's output for so many images."""
        shape = [images if axis == self.axis else length for axis, length in enumerate(self.shape)]
        return torch.zeros(shape, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class Pass:
    """What came of one pass: the network's answer for so many images, and layers' outputs and leaves by name."""

    answer: Any
    images: int
    outputs: dict[str, Tensor]
    leaves: dict[str, Tensor]


class Program:
    """One pass of a network for inputs of one shape, as ``torch.compile`` makes it.

    Hooks that are set after compiling are ignored by what was compiled. So they are there when it is: each adds zeros
    to its layer's output, and the gradient with respect to these is the one with respect to the output.
    """

    def __init__(self) -> None:
        added: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}
        twice: list[str] = []

        def run(
            network: nn.Module, given: Sequence[Tensor], named: Mapping[str, Tensor], zeros: dict[str, Tensor]
        ) -> Any:
            added.update(zeros)
            answer = network(*given, **named)
            return answer, dict(seen)

        def hook(name: str) -> Callable[[nn.Module, Any, Any], Any]:
            def note(_module: nn.Module, _inputs: Any, output: Any) -> Any:
                tensor = first_tensor(output)
                if tensor is None:
                    return output
                if name in seen:
                    twice.append(name)
                moved = tensor + added[name]
                seen[name] = moved.clone()
                return replaced(output, tensor, moved)

            return note

        self._held = (added, seen, twice)
        self._hook = hook
        self._run = torch.compile(_apart(run), fullgraph=True, dynamic=False)

    def __call__(
        self, network: nn.Module, images: Images, modules: Mapping[str, nn.Module], zeros: dict[str, Tensor]
    ) -> tuple[Any, dict[str, Tensor]]:
        """The network's answer, and the layers' outputs."""
        named = dict(images) if isinstance(images, Mapping) else {}
        given = () if isinstance(images, Mapping) else (images,)
        with ExitStack() as stack:
            for held in self._held:
                stack.callback(held.clear)
            for name, module in modules.items():
                stack.callback(module.register_forward_hook(self._hook(name)).remove)
            stack.enter_context(_explained())
            # Several classes' gradients are taken from one pass, which keeps what they need.
            stack.enter_context(torch._functorch.config.patch(donated_buffer=False))
            stack.enter_context(_folded())
            answer: tuple[Any, dict[str, Tensor]] = self._run(network, given, named, zeros)
            _, _, twice = self._held
            if twice:
                raise OptionError(
                    f"compile=True and layer {twice[0]!r} were asked for; the layer runs more than once, which cannot "
                    f"be told apart in compiled code: leave compile out"
                )
        return answer


def passed(network: nn.Module, images: Images, places: Mapping[str, Place], graph: bool, most: int) -> Pass:
    """Run a network as compiled for these images; fewer than were compiled for are filled up with copies of the last.

    No more than ``most`` are run unless there are: more may not fit into memory. The parameters must need no gradient.
    With ``graph``, the answer has one with respect to the leaves.
    """
    tensor = explained(images)
    count = len(tensor)
    key = (graph, *((name, place.shape) for name, place in places.items()), *_shapes(images))
    programs = _PROGRAMS.setdefault(network, {}).setdefault(key, {})
    size = min((known for known in programs if count <= known <= most), default=count)
    program = programs[size] if size in programs else Program()
    leaves = {name: place.zeros(tensor, count).requires_grad_(graph) for name, place in places.items()}
    filled = {name: _filled(leaf, places[name].axis, size) for name, leaf in leaves.items()}
    more = {name: _filled(one, 0, size) for name, one in images.items()} if isinstance(images, Mapping) else None
    with torch.set_grad_enabled(graph):
        modules = {name: place.module for name, place in places.items()}
        answer, outputs = program(network, more or _filled(tensor, 0, size), modules, filled)
        outputs = {name: output.detach().narrow(places[name].axis, 0, count) for name, output in outputs.items()}
    programs[size] = program  # that it runs is known now
    return Pass(answer, size, outputs, leaves)


def _shapes(images: Images) -> Iterator[object]:
    """What a program depends on of its input, but for the number of images."""
    tensors = images if isinstance(images, Mapping) else {"": images}
    return ((name, tensor.shape[1:], tensor.dtype, _order(tensor)) for name, tensor in tensors.items())


def _order(tensor: Tensor) -> tuple[int, ...]:
    return tuple(sorted(range(tensor.ndim), key=tensor.stride))


def _filled(tensor: Tensor, axis: int, size: int) -> Tensor:
    """A tensor with copies of the last of its images behind, so that there are ``size``."""
    missing = size - tensor.shape[axis]
    if not missing:
        return tensor
    last = tensor.narrow(axis, tensor.shape[axis] - 1, 1)
    return torch.cat([tensor, *[last.detach()] * missing], dim=axis)


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with code of its own: what is compiled is kept by a function's code, which others share."""
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )


@contextmanager
def _folded() -> Iterator[None]:
    """Matrices multiply batches as one matrix, whose copy is small beside what the compiler does otherwise.

    It copies a weight for each image where the images are not contiguous and the weight needs no gradient: PyTorch's
    multi-head attention took four times as long so.
    """
    home = torch._decomp.decompositions
    usual = getattr(home, "should_fold", None)
    if usual is None:  # an older torch, which does not ask
        yield
        return

    def fold(one: Tensor, other: Tensor, is_out: bool) -> bool:
        return (max(one.ndim, other.ndim) >= 3 and min(one.ndim, other.ndim) <= 2) or usual(one, other, is_out)

    home.should_fold = fold  # type: ignore[assignment]  # its parameters have other names
    try:
        yield
    finally:
        home.should_fold = usual


@contextmanager
def _explained() -> Iterator[None]:
    """What the compiler raises, in one line."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    try:
        yield
    except (TorchDynamoException, InductorError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OptionError(
            f"compile=True was asked for; the network cannot be compiled as a whole ({reason}): leave compile out"
        ) from error
