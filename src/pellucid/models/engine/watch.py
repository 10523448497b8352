"""Watching the attentions of a pass, and their gradients as a backward pass goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from pellucid.core.probe import GradientStep
from pellucid.errors import NoAttentionError
from pellucid.models.attention import INSTEAD, Call, Plan
from pellucid.models.engine.attention import AttentionTap, Weighing
from pellucid.models.engine.derivatives import NotReached, as_float, scaled


@contextmanager
def tapped(
    calls: Sequence[Call], wanted: Sequence[Call], images: int, take: Callable[[Call, Weighing], None]
) -> Iterator[None]:
    """While this is open, of the attentions ``calls`` of a pass of so many images the ``wanted`` ones are taken."""

    def told(number: int, weighing: Weighing) -> None:
        if number >= len(calls) or calls[number] not in wanted:
            return
        if weighing.shape[0] != images:
            raise NoAttentionError(
                f"attention over the whole picture was asked for; {images} images gave {weighing.shape[0]} sequences: "
                f"{INSTEAD}"
            )
        take(calls[number], weighing)

    with AttentionTap(told):
        yield


class Watch:
    """The attentions of one pass, and what backward passes tell of their gradients."""

    def __init__(self, plan: Plan, step: GradientStep, graph: bool) -> None:
        self._plan = plan
        self._step = step
        self._graph = graph
        self._leaf: Tensor | None = None
        self._handles: list[RemovableHandle] = []
        self._folded: Tensor | None = None
        self._fired = False
        self._factor = 1.0
        self.again: dict[Call, Tensor] = {}
        """Weights that were computed once more."""
        self.comes_again = False
        """Whether the attentions that are taken now will be computed once more."""

    def __enter__(self) -> Watch:
        """Begin; nothing is watched yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """End: hooks on a graph that hold parts of it would keep it alive, and a second derivative would call them."""
        for handle in self._handles:
            handle.remove()

    def take(self, call: Call, weighing: Weighing) -> None:
        """Let the graph begin at the first attention, and watch the gradients at all of them."""
        seen = weighing.begin()
        self._leaf = seen if self._leaf is None else self._leaf
        weights = partial(self._weights_again, call) if self.comes_again else weighing.weights
        self._handles.append(weighing.watch(partial(self._told, weights)))

    def run(self, scores: Tensor, folded: Sequence[Tensor | None]) -> list[Tensor] | None:
        """Fold on from ``folded``, one a class; None where no gradient comes to the attentions."""
        if self._leaf is None or not scores.requires_grad:
            return None
        with torch.enable_grad():
            columns = scores.unbind(1)
        try:
            return [self._of_class(score, before) for score, before in zip(columns, folded, strict=True)]
        except NotReached:
            return None

    def _of_class(self, score: Tensor, before: Tensor | None) -> Tensor:
        leaf: Tensor = self._leaf  # type: ignore[assignment]  # ``run`` made sure of it

        def fold(factor: float) -> Tensor:
            self._folded, self._fired, self._factor = before, False, factor
            with torch.enable_grad():
                total = score.sum() * factor
            torch.autograd.grad(total, [leaf], retain_graph=True, create_graph=self._graph, allow_unused=True)
            if self._folded is None or not self._fired:
                raise NotReached
            return self._folded

        return scaled(fold, leaf.dtype)

    def _told(self, weights: Callable[[], Tensor], gradient: Tensor) -> None:
        attention, gradient = (self._plan.whole(as_float(part)) for part in (weights(), gradient))
        self._folded = self._step(self._folded, attention, gradient / self._factor)
        self._fired = True

    def _weights_again(self, call: Call) -> Tensor:
        if call not in self.again:
            raise NotReached
        return self.again.pop(call)


class Twice:
    """A module's forward that keeps nothing for the backward pass but its inputs, and is run again then."""

    def __init__(self, forward: Callable[..., Any], calls: Sequence[Call], watch: Watch) -> None:
        self._forward = forward
        self._calls = calls
        self._watch = watch
        self._ran = False

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run for the first time."""
        if not torch.is_grad_enabled():  # the graph begins within
            return self._forward(*inputs, **named)
        self._watch.comes_again = True
        try:
            return checkpoint(
                self._run, *inputs, use_reentrant=False, preserve_rng_state=False, determinism_check="none", **named
            )
        finally:
            self._watch.comes_again = False

    def _run(self, *inputs: Any, **named: Any) -> Any:
        if not self._ran:
            self._ran = True
            return self._forward(*inputs, **named)
        with AttentionTap(self._keep):
            return self._forward(*inputs, **named)

    def _keep(self, number: int, weighing: Weighing) -> None:
        self._watch.again[self._calls[number]] = weighing.weights().detach()
