"""A forward pass from a layer on: modules that finished before the layer return their stored outputs.

One pass of one image stores the outputs of all module calls that finished before the layer's, except those made inside
another of them. In a replay these modules return the stored outputs and the layer returns other values, so that only
the modules after the layer compute. A first replay tests whether the network allows this (it might write into the
stored outputs, or mix images); if it does not, every replay runs the whole network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.errors import LayerError
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.derivatives import as_float, as_like
from pellucid.models.session.hooks import first_tensor, forwards, hookable, mapped, replaced
from pellucid.models.session.occurrence import Occurrence
from pellucid.models.session.session import Session

_COMPUTE = object()
"""In a module's list of outputs: this call is computed."""


class ForwardFromLayer:
    """A function from other outputs of a layer (N, C, *grid), in place of one image's, to logits (N, classes)."""

    def __init__(self, session: Session, image: Inputs, layer: str, layout: Layout) -> None:
        self._session = session
        self._image = image
        self._module = session.modules([layer])[layer]
        self._layout = layout
        record = _Record(self._module, Occurrence.of(layer).run)
        with record.watching(session.network):
            logits = session.call(image)
        if not record.number:
            raise LayerError(f"layer {layer!r} was asked for; the network does not run it on this image")
        self._output = record.output
        self._earlier = record.earlier
        if not self._replay_agrees(logits):
            self._earlier = {self._module: [_COMPUTE] * (record.number - 1)}

    def __call__(self, values: Tensor) -> Tensor:
        """The logits (N, classes) that follow from the layer's outputs ``values`` (N, C, *grid)."""
        output = self._repeated(len(values))
        known: Tensor = first_tensor(output)  # type: ignore[assignment]  # it has one: it has a layout
        other = as_like(self._layout.restored(values.to(as_float(known).dtype), as_float(known)), known)
        return self._replay(replaced(output, known, other), len(values))

    def _repeated(self, count: int) -> Any:
        """The layer's output for one image, expanded to ``count`` images."""
        layout = self._layout
        return (
            mapped(self._output, lambda tensor: _of_entries(tensor, count, layout))
            if layout.entries > 1
            else (_expanded(self._output, count, layout.batch_axis))
        )

    def _replay_agrees(self, logits: Tensor) -> bool:
        try:
            again = self._replay(self._repeated(2), 2)
        except (RuntimeError, ValueError, IndexError, TypeError):  # in-place writes, and outputs that do not repeat
            return False
        atol = 1e-4 * float(logits.detach().abs().nan_to_num().max())
        return torch.allclose(again, logits.expand(2, *logits.shape[1:]), rtol=1e-3, atol=atol, equal_nan=True)

    def _replay(self, output: Any, count: int) -> Tensor:
        answers = {module: [_expanded(one, count) for one in outputs] for module, outputs in self._earlier.items()}
        # A copy: later modules may write into it, and it may be the caller's.
        answers[self._module] = [*answers.get(self._module, []), _kept(output)]
        with answering(answers):
            logits = self._session.call(self._image.repeated(count))
        if answers[self._module]:
            raise LayerError(
                f"other outputs of layer {type(self._module).__name__} were asked about; the network does not call it "
                f"in every pass: choose another layer, or a method that needs gradients only"
            )
        return logits


class _Record:
    """The calls of a pass that finished before a module's run, or its last one, the run's number, and its output."""

    def __init__(self, module: nn.Module, run: int | None = None) -> None:
        self._module = module
        self._run = run
        self._open: list[int] = []
        self._finished: list[tuple[nn.Module, Any]] = []
        self._before: list[tuple[nn.Module, Any]] = []
        self.runs = 0
        self.number = 0
        self.output: Any = None

    @property
    def earlier(self) -> dict[nn.Module, list[Any]]:
        """The earlier outputs of each module, in order."""
        outputs: dict[nn.Module, list[Any]] = {}
        for module, output in self._before:
            outputs.setdefault(module, []).append(output)
        return outputs

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for _, module in hookable(network):
                stack.callback(module.register_forward_pre_hook(self._begin).remove)
                stack.callback(module.register_forward_hook(self._end).remove)
            yield

    def _begin(self, _module: nn.Module, _inputs: Any) -> None:
        self._open.append(len(self._finished))

    def _end(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        del self._finished[self._open.pop() :]
        output = _kept(output)
        if module is self._module:
            self.runs += 1
            if self._run in (None, self.runs):
                self.number, self.output, self._before = self.runs, output, list(self._finished)
        self._finished.append((module, output))


@contextmanager
def answering(answers: Mapping[nn.Module, list[Any]]) -> Iterator[None]:
    """While this is open, modules return these outputs, in order, instead of computing; after the last they compute."""
    with forwards({module: partial(_answer, module.forward, outputs) for module, outputs in answers.items()}):
        yield


def _answer(forward: Callable[..., Any], outputs: list[Any], *inputs: Any, **named: Any) -> Any:
    output = outputs.pop(0) if outputs else _COMPUTE
    return forward(*inputs, **named) if output is _COMPUTE else output


def _kept(output: Any) -> Any:
    """A copy of a module's output, safe from later in-place writes."""
    return mapped(output, Tensor.clone)


def _of_entries(tensor: Tensor, count: int, layout: Layout) -> Tensor:
    """The entries of one image's output, repeated for ``count`` images."""
    return (
        tensor.repeat_interleave(count, dim=0) if layout.by_entry else tensor.repeat(count, *(1,) * (tensor.ndim - 1))
    )


def _expanded(output: Any, count: int, axis: int = 0) -> Any:
    """The output for one image expanded to ``count``; ``ValueError`` if its batch axis does not have length 1."""

    def expand(tensor: Tensor) -> Tensor:
        if tensor.ndim <= axis or tensor.shape[axis] != 1:
            raise ValueError(f"an output {tuple(tensor.shape)} is not of one image")
        return tensor.expand(*tensor.shape[:axis], count, *tensor.shape[axis + 1 :])

    return mapped(output, expand)
