"""Watching the attentions of a pass, and their gradients as a backward pass goes by."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from pellucid.core.inputs import chunks
from pellucid.core.probe import GradientStep
from pellucid.errors import NoAttentionError
from pellucid.models.attention import INSTEAD, Call, Plan
from pellucid.models.engine.attention import AttentionTap
from pellucid.models.engine.derivatives import NotReached, as_float, refuse, restored, scaled
from pellucid.models.engine.weighing import Part, Reading, Weighing


@contextmanager
def tapped(
    calls: Sequence[Call], wanted: Sequence[Call], images: int, take: Callable[[Call, Weighing], None]
) -> Iterator[None]:
    """While this is open, of the attentions ``calls`` of a pass of so many images the ``wanted`` ones are taken."""

    def told(number: int, weighing: Weighing) -> None:
        if number >= len(calls) or calls[number] not in wanted:
            return
        if weighing.shape[0] % images:
            raise NoAttentionError(
                f"attention over the whole picture was asked for; {images} images gave {weighing.shape[0]} sequences: "
                f"{INSTEAD}"
            )
        take(calls[number], weighing)

    with AttentionTap(told):
        yield


def in_parts(
    plan: Plan,
    call: Call,
    images: Tensor,
    step: Callable[..., Tensor],
    before: Tensor | None,
    readings: Sequence[tuple[Reading, ...]],
) -> Tensor:
    """What ``step`` makes of what is read of the attentions of a call's group, a few images at a time."""

    def stepped(start: int, stop: int) -> Tensor:
        part = Part(start, stop, len(images))
        read = [[as_float(one(part)) for one in column] for column in zip(*readings, strict=True)]
        wholes = (plan.whole(column, stop - start) for column in read)
        return step(None if before is None else before[start:stop], *wholes)

    most = _MOST.get(images.device.type, _MOST_ELSEWHERE)
    size = max(1, most // sum(math.prod(one.shape) for one in plan.group(call)))
    return torch.cat([stepped(start, stop) for start, stop in chunks(len(images), size)])


_MOST = {"cpu": 2**20}
"""So many weights are held at a time, 4 MiB, or an image's: to get memory for those of a whole batch takes longer than
to compute them."""
_MOST_ELSEWHERE = 2**26
"""Where memory is kept for the next use, few large steps are faster."""


class Watch:
    """The attentions of one pass of some images, and what backward passes tell of their gradients."""

    def __init__(self, plan: Plan, images: Tensor, step: GradientStep, graph: bool) -> None:
        self._plan = plan
        self._images = images
        self._step = step
        self._graph = graph
        self._leaves: list[Tensor] = []
        self._handles: list[RemovableHandle] = []
        self._folded: Tensor | None = None
        self._told: dict[Call, tuple[Reading, Reading]] = {}
        """How to read weights and gradients of a group's attentions, until all of them are there."""
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
        """Let the graph begin at attentions that depend on no other, and watch the gradients at all of them."""
        seen = weighing.begin()
        if seen.is_leaf or not self._leaves:
            self._leaves.append(seen)
        weights = partial(self._weights_again, call) if self.comes_again else weighing.weights
        self._handles.append(weighing.watch(partial(self._tell, call, weights)))

    def run(self, scores: Tensor, folded: Sequence[Tensor | None]) -> list[Tensor] | None:
        """Fold on from ``folded``, one a class; None where no gradient comes to the attentions."""
        if not self._leaves or not scores.requires_grad:
            return None
        with torch.enable_grad():
            columns = scores.unbind(1)
        try:
            return [self._of_class(score, before) for score, before in zip(columns, folded, strict=True)]
        except NotReached:
            return None
        except RuntimeError as error:
            if "checkpoint" in str(error).lower():  # the network's own around ours
                return None
            refuse(error, "the attention")
            raise

    def _of_class(self, score: Tensor, before: Tensor | None) -> Tensor:
        def fold(factor: float) -> Tensor:
            self._folded, self._fired, self._factor, self._told = before, False, factor, {}
            with torch.enable_grad():
                total = score.sum() * factor
            torch.autograd.grad(total, self._leaves, retain_graph=True, create_graph=self._graph, allow_unused=True)
            self._step_on()
            if self._folded is None or not self._fired:
                raise NotReached
            return self._folded

        return scaled(fold, self._leaves[0].dtype)

    def _tell(self, call: Call, weights: Reading, gradient: Reading) -> None:
        if self._told and call not in self._plan.group(next(iter(self._told))):
            self._step_on()
        self._told[call] = weights, lambda part: restored(gradient(part), self._factor)

    def _step_on(self) -> None:
        """Fold a group; at those of its attentions that were not told of the gradient is 0."""
        if not self._told:
            return
        call, (like, _) = next(iter(self._told.items()))
        group = self._plan.group(call)

        def nothing(part: Part) -> Tensor:
            return torch.zeros_like(like(part))

        readings = [self._told.get(one, (nothing, nothing)) for one in group]
        self._folded = in_parts(self._plan, call, self._images, self._step, self._folded, readings)
        self._fired, self._told = True, {}
        for one in group:
            self.again.pop(one, None)

    def _weights_again(self, call: Call, part: Part) -> Tensor:
        if call not in self.again:
            raise NotReached
        return part.of(self.again[call])


class Twice:
    """A module's forward that keeps nothing for the backward pass but its inputs, and is run again then."""

    def __init__(self, forward: Callable[..., Any], calls: Sequence[Call], watch: Watch) -> None:
        self._forward = forward
        self._calls = calls
        self._watch = watch
        self._ran = False

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run for the first time."""
        given = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor)]
        if not torch.is_grad_enabled() or not any(value.requires_grad for value in given):  # the graph begins within
            return self._forward(*inputs, **named)
        self._watch.comes_again = True
        try:
            return checkpoint(self._run, *inputs, use_reentrant=False, determinism_check="none", **named)
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
