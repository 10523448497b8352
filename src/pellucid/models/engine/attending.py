"""The attention of one batch, folded block by block: by itself, or with the scores' gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from torch import Tensor

from pellucid.core.inputs import Images, cut, explained, with_explained
from pellucid.core.probe import GradientStep, Step
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError
from pellucid.models.attention import INSTEAD, Call, Plan, planned
from pellucid.models.engine.attention import Weighing
from pellucid.models.engine.capture import recording
from pellucid.models.engine.derivatives import as_float, scores_of
from pellucid.models.engine.replay import forwards
from pellucid.models.engine.search import noise_like, without_zeros
from pellucid.models.engine.session import Session
from pellucid.models.engine.watch import Twice, Watch, tapped

Passing = Callable[[], AbstractContextManager[None]]


class Attending:
    """What the attention of one batch tells; ``passing`` is the context of a forward pass, ``graph``: keep graphs."""

    def __init__(self, session: Session, images: Images, passing: Passing, graph: bool) -> None:
        self.session = session
        self.images = images
        self.passing = passing
        self.graph = graph
        self.trace = session.trace(images)
        self.plan = self._planned()

    def _planned(self) -> Plan:
        """The plan, without what pools the tokens where no score depends on that (SigLIP's, in transformers)."""
        trace = self.trace
        plan = planned(trace.calls, trace.places)
        if not plan.pooled:
            return plan
        if trace.idle is None:
            pools = [call for call in plan.calls if call.is_pool]
            trace.idle = frozenset(call.number for call in pools) if self._are_idle(pools) else frozenset()
        used = [call for call in trace.calls if call.number not in trace.idle]
        return planned(used, trace.places) if trace.idle else plan

    def _are_idle(self, pools: Sequence[Call]) -> bool:
        """Whether a score has no gradient at any of these attentions, tried on noise."""
        image = cut(self.images, 0, 1)
        noise = with_explained(image, noise_like(explained(image)))
        seen: list[Tensor] = []
        with torch.no_grad():
            with tapped(self.trace.calls, pools, 1, lambda _, weighing: seen.append(weighing.begin())):
                logits = without_zeros(self.session).call(noise)
            with torch.enable_grad():
                score = logits.sum()
            found = torch.autograd.grad(score, seen, allow_unused=True) if score.requires_grad else ()
        return not any(gradient is not None and bool(gradient.any()) for gradient in found)

    @contextmanager
    def tapped(self, take: Callable[[Call, Weighing], None]) -> Iterator[None]:
        """A forward pass, in which the attentions of the plan are taken."""
        count = len(explained(self.images))
        with self.passing(), tapped(self.trace.calls, self.plan.calls, count, take):
            yield

    def folded(self, step: Step) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of the attention, first block first, and the logits of the pass."""
        found: list[Tensor] = []

        def take(_: Call, weighing: Weighing) -> None:
            weights = self.plan.whole(as_float(weighing.weights()))
            found[:] = [step(found[0] if found else None, weights)]

        with self.tapped(take):
            logits = self.session.call(self.images)
        if not found:
            raise NoAttentionError(f"No attention maps captured: other passes of the model have some; {INSTEAD}")
        return found[0], logits

    def with_gradients(self, targets: Targets, step: GradientStep) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of attention and gradients, last block first, (B, K, …), and the logits of the pass."""
        for kept in (None, partial(recording, self.session.network)):
            with Watch(self.plan, step, self.graph) as watch:
                with (kept or partial(self._lightened, watch))(), self.tapped(watch.take):
                    logits = self.session.call(self.images)
                scores = scores_of(targets, logits)
                folded = watch.run(scores, [None] * scores.shape[1])
            if folded is not None:
                return torch.stack(folded, dim=1), logits
        raise GradientError(
            "no gradient of the score reaches the attention: it runs under inference_mode, a reentrant checkpoint or a "
            "detach; turn that off, or use rollout"
        )

    @contextmanager
    def _lightened(self, watch: Watch) -> Iterator[None]:
        """While this is open, attention that is not fused is computed again for its gradient, and not held."""
        calls = [] if self.graph else [call for call in self.plan.calls if not call.fused]
        names = {call.modules[-1] for call in calls if self.trace.runs[call.modules[-1]] == 1}
        modules = self.session.modules([name for name in names if name])
        within = {name: [call for call in self.trace.calls if name in call.modules] for name in modules}
        with forwards({modules[name]: Twice(modules[name].forward, within[name], watch) for name in modules}):
            yield
