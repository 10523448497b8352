"""The attention calls of a pass, and the fold of their gradients during a backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from pellucid.core.inputs import chunks
from pellucid.core.probe import Step
from pellucid.models.discovery.attention_plan import Call, Plan
from pellucid.models.session.attention_calls import AttentionCall, Chunk, Read
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.derivatives import NotReached, as_float, explain_failure, restored, scaled


def in_chunks(
    plan: Plan,
    call: Call,
    images: Tensor,
    step: Step,
    before: Tensor | None,
    reads: Sequence[tuple[Read, ...]],
) -> Tensor:
    """The result of ``step`` over the tensors read from a group's calls, a few images at a time."""

    def stepped(start: int, stop: int) -> Tensor:
        chunk = Chunk(start, stop, len(images))
        read = [[as_float(one(chunk)) for one in column] for column in zip(*reads, strict=True)]
        wholes = (plan.whole(column, stop - start) for column in read)
        return step(None if before is None else before[start:stop], *wholes)

    most = CHUNK.get(images.device.type, CHUNK_ELSEWHERE)
    size = max(1, most // sum(math.prod(one.shape) for one in plan.group(call)))
    return torch.cat([stepped(start, stop) for start, stop in chunks(len(images), size)])


CHUNK = {"cpu": 2**20}
"""Attention weights are computed in chunks of at most 4 MiB, or of one image: allocating a whole batch's takes longer
than computing them."""
CHUNK_ELSEWHERE = 2**26
"""The same on other devices: their allocators cache memory, so few large chunks are faster."""


class AttentionGradients:
    """The attention calls of one pass, and the fold of their gradients in one backward pass per class."""

    def __init__(self, plan: Plan, images: Tensor, step: Step, graph: bool) -> None:
        self._plan = plan
        self._images = images
        self._step = step
        self._graph = graph
        self._leaves: list[Tensor] = []
        self._handles: list[RemovableHandle] = []
        self._folded: Tensor | None = None
        self._read: dict[Call, tuple[Read, Read]] = {}
        """Readers of weights and gradients of a group's calls, until all gradients have arrived."""
        self._any_arrived = False
        self._factor = 1.0
        self.again: dict[Call, Tensor] = {}
        """Recomputed weights."""
        self.comes_again = False
        """Whether the calls that are taken now will be recomputed."""

    def __enter__(self) -> AttentionGradients:
        """Start without hooks."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the hooks: they would keep the graph alive, and a second derivative would call them."""
        for handle in self._handles:
            handle.remove()

    def take(self, call: Call, attention: AttentionCall) -> None:
        """Start the graph at calls that depend on no other, and hook the gradients at all calls."""
        seen = attention.begin()
        if seen.is_leaf or not self._leaves:
            self._leaves.append(seen)
        weights = partial(self._weights_again, call) if self.comes_again else attention.weights
        self._handles.append(attention.watch(partial(self._arrived, call, weights)))

    def fold(self, scores: Tensor, folded: Sequence[Tensor | None]) -> list[Tensor] | None:
        """Continue the fold from ``folded``, one tensor per class; None if no gradient arrives at the attention."""
        if not self._leaves or not scores.requires_grad:
            return None
        with torch.enable_grad():
            columns = scores.unbind(1)
        try:
            return [self._of_class(score, before) for score, before in zip(columns, folded, strict=True)]
        except NotReached:
            return None
        except RuntimeError as error:
            if "checkpoint" in str(error).lower():  # the network's own checkpoint around this one
                return None
            explain_failure(error, "the attention")
            raise

    def _of_class(self, score: Tensor, before: Tensor | None) -> Tensor:
        def folded(factor: float) -> Tensor:
            self._folded, self._any_arrived, self._factor, self._read = before, False, factor, {}
            with torch.enable_grad():
                total = score.sum() * factor
            torch.autograd.grad(total, self._leaves, retain_graph=True, create_graph=self._graph, allow_unused=True)
            self._step_on()
            if self._folded is None or not self._any_arrived:
                raise NotReached
            return self._folded

        return scaled(folded, self._leaves[0].dtype)

    def _arrived(self, call: Call, weights: Read, gradient: Read) -> None:
        if self._read and call not in self._plan.group(next(iter(self._read))):
            self._step_on()
        self._read[call] = weights, lambda chunk: restored(gradient(chunk), self._factor)

    def _step_on(self) -> None:
        """Fold a group; the gradient of a call at which none has arrived is 0."""
        if not self._read:
            return
        call, (like, _) = next(iter(self._read.items()))
        group = self._plan.group(call)

        def nothing(chunk: Chunk) -> Tensor:
            return torch.zeros_like(like(chunk))

        reads = [self._read.get(one, (nothing, nothing)) for one in group]
        self._folded = in_chunks(self._plan, call, self._images, self._step, self._folded, reads)
        self._any_arrived, self._read = True, {}
        for one in group:
            self.again.pop(one, None)

    def _weights_again(self, call: Call, chunk: Chunk) -> Tensor:
        if call not in self.again:
            raise NotReached
        return chunk.of(self.again[call])


class Recomputed:
    """A module's forward that keeps only its inputs for the backward pass, and is recomputed there."""

    def __init__(self, forward: Callable[..., Any], calls: Sequence[Call], watch: AttentionGradients) -> None:
        self._forward = forward
        self._calls = calls
        self._watch = watch
        self._ran = False

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the module under a checkpoint."""
        given = [value for value in (*inputs, *named.values()) if isinstance(value, Tensor)]
        if not torch.is_grad_enabled() or not any(value.requires_grad for value in given):  # the graph starts inside
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
        with AttentionMode(self._keep):
            return self._forward(*inputs, **named)

    def _keep(self, number: int, attention: AttentionCall) -> None:
        self._watch.again[self._calls[number]] = attention.weights().detach()
