"""A network compiled as a whole, with zeros added at each layer so that a gradient can be taken there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.default_device import as_called
from pellucid.core.inputs import Inputs
from pellucid.core.torch_private import compiler_errors, compiling_for_gradients
from pellucid.errors import OptionError
from pellucid.models.discovery.places import no_positions, one_image_layout
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.cache import remembered
from pellucid.models.session.hooks import at_rest, first_tensor, not_run, replaced
from pellucid.models.session.session import Session

_Key = tuple[object, ...]
Outputs = tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]
"""Logits, layers' outputs, and what gradients at these are taken with respect to."""


def compiled_outputs(session: Session, inputs: Inputs, layers: Sequence[str], graph: bool, most: int) -> Outputs:
    """The results of a pass that runs compiled. With ``graph``, the logits have gradients with respect to the leaves.

    A batch smaller than a compiled program's is padded with copies of its last image, up to ``most`` images: more may
    not fit into memory.
    """
    facts = session.known(inputs)
    if facts.draws:
        raise OptionError(
            "compile=True was asked for; the network draws random numbers, which compiled code takes from the "
            "process's generator: leave compile out"
        )
    points = {layer: _point(session, inputs, layer) for layer in layers}
    given = inputs.cloned() if facts.writes_input else inputs
    key = (graph, *((layer, point.shape) for layer, point in points.items()), *_shapes(session, given))
    programs: dict[int, Program] = remembered(session.model, ("programs", key), dict)
    count = len(given)
    size = min((known for known in programs if count <= known <= most), default=count)
    program = programs[size] if size in programs else Program()
    leaves = {layer: point.zeros(given.images, count).requires_grad_(graph) for layer, point in points.items()}
    filled = {layer: _filled(leaf, points[layer].axis, size) for layer, leaf in leaves.items()}
    with torch.set_grad_enabled(graph), at_rest(session.network):
        modules = {layer: point.module for layer, point in points.items()}
        raw, outputs = program(session, given.map(lambda tensor: _filled(tensor, 0, size)), modules, filled)
        logits = session.read(raw, facts.ending)[:count]
        outputs = {layer: one.detach().narrow(points[layer].axis, 0, count) for layer, one in outputs.items()}
    programs[size] = program  # only once it has run
    return logits, outputs, leaves


@dataclass(frozen=True)
class _Point:
    """A layer, the shape of its output for one image, and the batch axis of that output."""

    module: nn.Module
    shape: tuple[int, ...]
    axis: int

    def zeros(self, like: Tensor, images: int) -> Tensor:
        """The zeros that are added to the layer's output for several images."""
        shape = [images if axis == self.axis else length for axis, length in enumerate(self.shape)]
        return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _point(session: Session, inputs: Inputs, layer: str) -> _Point:
    layout, one = one_image_layout(session, profile_of(session, inputs), layer)
    if not one:
        raise not_run(layer)
    if layout is None:
        raise no_positions(layer, one)
    return _Point(session.modules([layer])[layer], tuple(one), layout.batch_axis)


class Program:
    """One pass of a network for inputs of one shape, compiled by ``torch.compile``.

    Compiled code ignores hooks that are set later, so the hooks are set before it is compiled. Each adds zeros to its
    layer's output: the gradient with respect to the zeros is the one with respect to the output.
    """

    def __init__(self) -> None:
        added: dict[str, Tensor] = {}
        seen: dict[str, Tensor] = {}
        twice: list[str] = []

        def run(
            network: nn.Module, given: Sequence[Tensor], named: Mapping[str, Tensor], zeros: dict[str, Tensor]
        ) -> Any:
            added.update(zeros)
            output = network(*given, **named)
            return output, dict(seen)

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
        self, session: Session, inputs: Inputs, modules: Mapping[str, nn.Module], zeros: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's raw logits, and the layers' outputs."""
        with ExitStack() as stack:
            for held in self._held:
                stack.callback(held.clear)
            for name, module in modules.items():
                stack.callback(module.register_forward_hook(self._hook(name)).remove)
            stack.enter_context(_explained())
            stack.enter_context(_Compiling.lock)
            stack.enter_context(compiling_for_gradients())
            stack.enter_context(as_called())
            output, seen = self._run(session.network, inputs.positional, inputs.named, zeros)
            _, _, twice = self._held
            if twice:
                raise OptionError(
                    f"compile=True and layer {twice[0]!r} were asked for; the layer runs more than once, which cannot "
                    f"be told apart in compiled code: leave compile out"
                )
        return session.raw(output, len(inputs)), seen


class _Compiling:
    """A lock, since the compiler's settings hold for the whole process; a forked child gets a new one."""

    lock = threading.RLock()

    @classmethod
    def renew(cls) -> None:
        """Replace the lock: a thread that does not exist in the child may hold it."""
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Compiling.renew)


def _shapes(session: Session, inputs: Inputs) -> Iterator[object]:
    """Everything that a program depends on, except the layers and the number of images."""
    runtime = session.runtime
    yield session.key(inputs)
    yield (str(runtime.device), runtime.precision, runtime.channels_last)
    yield from ((name, tensor.dtype, _order(tensor)) for name, tensor in inputs.tensors.items())


def _order(tensor: Tensor) -> tuple[int, ...]:
    return tuple(sorted(range(tensor.ndim), key=tensor.stride))


def _filled(tensor: Tensor, axis: int, size: int) -> Tensor:
    """A tensor padded with copies of its last image to ``size`` images."""
    missing = size - tensor.shape[axis]
    if not missing:
        return tensor
    last = tensor.narrow(axis, tensor.shape[axis] - 1, 1)
    return torch.cat([tensor, *[last.detach()] * missing], dim=axis)


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with its own code object, by which torch caches compiled code: programs must not share it."""
    return FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
    )


@contextmanager
def _explained() -> Iterator[None]:
    """While this is open, a compiler error is raised as one line."""
    errors = compiler_errors()
    try:
        yield
    except errors as error:
        reason = _reason(error)
        raise OptionError(
            f"compile=True was asked for; the network cannot be compiled as a whole ({reason}): leave compile out"
        ) from error


def _reason(error: Exception) -> str:
    """The first line of an error; with the next one, where it only says that another error follows."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])
