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
from pellucid.models.engine.capture import at_rest, recording
from pellucid.models.engine.derivatives import scores_of
from pellucid.models.engine.noise import noise_like
from pellucid.models.engine.replay import forwards
from pellucid.models.engine.search import without_zeros
from pellucid.models.engine.session import Session
from pellucid.models.engine.watch import Twice, Watch, in_parts, tapped
from pellucid.models.engine.weighing import Reading, Weighing

NOT_REACHED = (
    "no gradient of the score reaches the attention: it runs under inference_mode, a reentrant checkpoint or a detach; "
    "turn that off, or use rollout"
)
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
        """The plan, with what is known of how the attentions depend on one another and the score on them."""
        trace, counts = self.trace, self.trace.counts()
        plan = planned(trace.calls, trace.places, counts)
        if trace.beside is None:
            self._ask(plan)
        used = [call for call in trace.calls if call.number not in trace.idle]
        return planned(used, trace.places, counts, trace.beside or ())

    def _ask(self, plan: Plan) -> None:
        """Find out, on noise, which attentions depend on the one before, and whether the score on what pools tokens.

        Heads may be computed one by one. What pools the tokens may be of no use (SigLIP's, in transformers).
        """
        image = cut(self.images, 0, 1)
        noise = with_explained(image, noise_like(explained(image)))
        first: dict[Call, Tensor] = {}  # of each attention: weights may be used twice

        def take(call: Call, weighing: Weighing) -> None:
            weighing.begin()
            weighing.changed(_noting(partial(first.setdefault, call)))

        with torch.no_grad(), at_rest(self.session.network):
            with tapped(self.trace.calls, plan.calls, 1, take):
                logits = without_zeros(self.session).call(noise)
            seen = list(first.values())
            with torch.enable_grad():
                totals = [logits.sum(), *(output.sum() for output in seen[1:])]
            try:
                found = _reached(totals[0], seen)
                chained = [_reached(total, [before])[0] for total, before in zip(totals[1:], seen, strict=False)]
            except RuntimeError:  # it writes into what its gradients need
                found, chained = [True] * len(seen), [True] * (len(seen) - 1)
        pools = [call for call, used in zip(plan.calls, found, strict=True) if call.is_pool and not used]
        pairs = zip(plan.calls, plan.calls[1:], chained, strict=False)
        # Where no gradient leads there may be a no_grad, or a checkpoint: then it is tried.
        beside = [call for before, call, after in pairs if not after and not self._follows(call, before, noise)]
        self.trace.idle = frozenset(call.number for call in pools)
        self.trace.beside = frozenset(call.number for call in beside)

    def _follows(self, call: Call, before: Call, noise: Images) -> bool:
        """Whether what an attention gives changes with what the one before it gives."""

        def given(change: Callable[[Tensor], Tensor]) -> Tensor:
            found: list[Tensor] = []

            def take(one: Call, weighing: Weighing) -> None:
                weighing.changed(change if one is before else _noting(found.append))

            with torch.no_grad(), tapped(self.trace.calls, [before, call], 1, take):
                self.session.call(noise)
            return found[0].clone()

        return not torch.equal(given(lambda output: output), given(lambda output: output.flip(-1) + 1))

    @contextmanager
    def tapped(self, take: Callable[[Call, Weighing], None]) -> Iterator[None]:
        """A forward pass, in which the attentions of the plan are taken."""
        count = len(explained(self.images))
        with self.passing(), tapped(self.trace.calls, self.plan.calls, count, take):
            yield

    def folded(self, step: Step) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of the attention, first block first, and the logits of the pass."""
        found: list[Tensor] = []
        readings: list[tuple[Reading]] = []
        images = explained(self.images)

        def take(call: Call, weighing: Weighing) -> None:
            readings.append((weighing.weights,))
            if call is self.plan.group(call)[-1]:
                found[:] = [in_parts(self.plan, call, images, step, found[0] if found else None, readings)]
                readings.clear()

        with self.tapped(take):
            logits = self.session.call(self.images)
        if not found:
            raise NoAttentionError(f"No attention maps captured: other passes of the model have some; {INSTEAD}")
        return found[0], logits

    def with_gradients(self, targets: Targets, step: GradientStep) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of attention and gradients, last block first, (B, K, …), and the logits of the pass."""
        for attempt in (self._from_attention, self._from_images):
            with Watch(self.plan, explained(self.images), step, self.graph) as watch:
                logits = attempt(watch)
                scores = scores_of(targets, logits)
                folded = watch.run(scores, [None] * scores.shape[1])
            if folded is not None:
                return torch.stack(folded, dim=1), logits
        raise GradientError(NOT_REACHED)

    def _from_attention(self, watch: Watch) -> Tensor:
        """The logits of a pass whose graph begins at the first attention."""
        with self._lightened(watch), self.tapped(watch.take):
            return self.session.call(self.images)

    def _from_images(self, watch: Watch) -> Tensor:
        """The logits of a pass that is recorded whole, for networks with a no_grad or checkpoints of their own."""
        tensor = explained(self.images)
        images = with_explained(self.images, tensor if tensor.requires_grad else tensor.detach().requires_grad_())
        with recording(self.session.network), self.tapped(watch.take), torch.enable_grad():
            return self.session.call(images)

    @contextmanager
    def _lightened(self, watch: Watch) -> Iterator[None]:
        """While this is open, attention that is not fused is computed again for its gradient, and not held."""
        calls = [] if self.graph else [call for call in self.plan.calls if not call.fused]
        names = {call.modules[-1] for call in calls if self.trace.runs[call.modules[-1]] == 1}
        modules = self.session.modules([name for name in names if name])
        within = {name: [call for call in self.trace.calls if name in call.modules] for name in modules}
        with forwards({modules[name]: Twice(modules[name].forward, within[name], watch) for name in modules}):
            yield


def _reached(score: Tensor, tensors: Sequence[Tensor]) -> list[bool]:
    """Which of the tensors a score has a gradient at; of one that is computed from none of them, none."""
    if not score.requires_grad:
        return [False] * len(tensors)
    return [
        gradient is not None for gradient in torch.autograd.grad(score, tensors, retain_graph=True, allow_unused=True)
    ]


def _noting(note: Callable[[Tensor], object]) -> Callable[[Tensor], Tensor]:
    """What changes nothing of an output, and notes it."""

    def change(output: Tensor) -> Tensor:
        note(output)
        return output

    return change
