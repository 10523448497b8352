"""Fold the attention of one batch block by block: forward, or backward with the scores' gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.core.probe import Step
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError
from pellucid.models.discovery.attention_dependence import plan_of
from pellucid.models.discovery.attention_plan import INSTEAD, Call, Plan, intercepted
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine.attention_gradients import AttentionGradients, Recomputed, in_chunks
from pellucid.models.session.attention_calls import AttentionCall, Read
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.derivatives import scores_of
from pellucid.models.session.hooks import forwards, recorded
from pellucid.models.session.session import Session

NOT_REACHED = (
    "no gradient of the score reaches the attention: it runs under inference_mode, a reentrant checkpoint or a detach; "
    "turn that off, or use rollout"
)


@dataclass(frozen=True)
class AttentionFold:
    """The attention calls of one batch that are folded; ``graph``: the results must be differentiable.

    Turn gradients on around its methods if the graph is to start at the images, else off.
    """

    session: Session
    inputs: Inputs
    profile: ModelProfile
    plan: Plan
    graph: bool

    @classmethod
    def of(cls, session: Session, inputs: Inputs, graph: bool) -> AttentionFold:
        """The fold of a batch. ``NoAttentionError``: there is no attention, or none over the whole image."""
        return cls(session, inputs, profile_of(session, inputs), plan_of(session, inputs), graph)

    def mode(self, take: Callable[[Call, AttentionCall], None]) -> AttentionMode:
        """A mode that passes the plan's attention calls to ``take``."""
        return intercepted(self.profile.attention_calls, self.plan.calls, len(self.inputs), take)

    def forward(self, step: Step) -> tuple[Tensor, Tensor]:
        """The result of ``step`` over the attention, first block first, (B, …), and the logits of the pass."""
        found: list[Tensor] = []
        reads: list[tuple[Read]] = []
        images = self.inputs.images

        def take(call: Call, attention: AttentionCall) -> None:
            reads.append((attention.weights,))
            if call is self.plan.group(call)[-1]:
                found[:] = [in_chunks(self.plan, call, images, step, found[0] if found else None, reads)]
                reads.clear()

        with self.mode(take):
            logits = self.session.call(self.inputs)
        if not found:
            raise NoAttentionError(f"No attention maps captured: other passes of the model have some; {INSTEAD}")
        return found[0], logits

    def backward(self, step: Step, targets: Targets) -> tuple[Tensor, Tensor]:
        """The result of ``step`` over attention and gradients, last block first, (B, K, …), and the logits."""
        for attempt in (self._from_attention, self._from_images):
            with AttentionGradients(self.plan, self.inputs.images, step, self.graph) as watch:
                logits = attempt(watch)
                scores = scores_of(targets, logits)
                folded = watch.fold(scores, [None] * scores.shape[1])
            if folded is not None:
                return torch.stack(folded, dim=1), logits
        raise GradientError(NOT_REACHED)

    def _from_attention(self, watch: AttentionGradients) -> Tensor:
        """The logits of a pass whose graph starts at the first attention.

        Attention that is not fused is recomputed in the backward pass instead of held.
        """
        facts = self.session.facts(self.inputs)
        holds = self.graph or (facts is not None and facts.draws)  # recomputed, it would draw other numbers
        calls = [] if holds else [call for call in self.plan.calls if not call.fused]
        names = {call.modules[-1] for call in calls if len(self.profile.runs[call.modules[-1]]) == 1}
        modules = self.session.modules([name for name in names if name])
        within = {name: [call for call in self.profile.attention_calls if name in call.modules] for name in modules}
        again = {modules[name]: Recomputed(modules[name].forward, within[name], watch) for name in modules}
        with forwards(again), torch.set_grad_enabled(torch.is_grad_enabled()), self.mode(watch.take):
            return self.session.call(self.inputs)

    def _from_images(self, watch: AttentionGradients) -> Tensor:
        """The logits of a pass whose graph starts at the images, for networks with their own no_grad or checkpoints."""
        images = self.inputs.images
        leaf = images if images.requires_grad else images.detach().requires_grad_()
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(recorded(self.session.network))
            stack.enter_context(self.mode(watch.take))
            return self.session.call(self.inputs.with_images(leaf))
