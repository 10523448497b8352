"""The attention of one batch, folded block by block: by itself, with the scores' gradients, or with readouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.hooks import RemovableHandle

from pellucid.core.inputs import Images, cut, explained, with_explained
from pellucid.core.probe import GradientStep, Step
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError
from pellucid.models.attention import INSTEAD, Call, Plan, planned
from pellucid.models.engine.attention import AttentionTap, Weighing
from pellucid.models.engine.capture import first_tensor, recording, replaced
from pellucid.models.engine.derivatives import NotReached, as_float, scaled, scores_of
from pellucid.models.engine.replay import forwards
from pellucid.models.engine.search import noise_like, without_zeros
from pellucid.models.engine.session import Session

Passing = Callable[[], AbstractContextManager[None]]


class Attending:
    """What the attention of one batch tells; ``passing`` is the context of a forward pass, ``graph``: keep graphs."""

    def __init__(self, session: Session, images: Images, passing: Passing, graph: bool) -> None:
        self._session = session
        self._images = images
        self._passing = passing
        self._graph = graph
        self._trace = session.trace(images)
        self.plan = self._planned()

    def _planned(self) -> Plan:
        """The plan, without what pools the tokens where no score depends on that (SigLIP's, in transformers)."""
        trace = self._trace
        plan = planned(trace.calls, trace.places)
        pools = [call for call in plan.calls if call.is_pool]
        if pools and trace.idle is None:
            trace.idle = frozenset(call.number for call in pools) if self._are_idle(pools) else frozenset()
        return (
            planned([call for call in trace.calls if call.number not in trace.idle], trace.places)
            if pools and trace.idle
            else plan
        )

    def _are_idle(self, pools: Sequence[Call]) -> bool:
        """Whether a score has no gradient at any of these attentions, tried on noise."""
        image = cut(self._images, 0, 1)
        noise = with_explained(image, noise_like(explained(image)))
        session, seen = without_zeros(self._session), list[Tensor]()
        with torch.no_grad():
            with _tap(self._trace.calls, pools, lambda _, weighing: seen.append(weighing.begin())):
                logits = session.call(noise)
            with torch.enable_grad():
                score = logits.flatten(1).sum()
            return not score.requires_grad or not any(
                gradient is not None and bool(gradient.any())
                for gradient in torch.autograd.grad(score, seen, allow_unused=True)
            )

    def folded(self, step: Step) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of the attention, first block first, and the logits of the pass."""
        found: list[Tensor] = []

        def take(_: Call, weighing: Weighing) -> None:
            weights = _checked(self.plan.whole(as_float(weighing.weights())), len(explained(self._images)))
            found[:] = [step(found[0] if found else None, weights)]

        with self._passing(), _tap(self._trace.calls, self.plan.calls, take):
            logits = self._session.call(self._images)
        if not found:
            raise NoAttentionError(f"No attention maps captured: other passes of the model have some; {INSTEAD}")
        return found[0], logits

    def with_gradients(self, targets: Targets, step: GradientStep) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of attention and gradients, last block first, (B, K, …), and the logits of the pass."""
        for kept in (None, partial(recording, self._session.network)):
            with _Watch(self.plan, step, self._graph) as watch:
                lightened = kept or partial(self._lightened, watch)
                with self._passing(), lightened(), _tap(self._trace.calls, self.plan.calls, watch.take):
                    logits = self._session.call(self._images)
                scores = scores_of(targets, logits)
                folded = watch.run(scores, [None] * scores.shape[1])
            if folded is not None:
                return torch.stack(folded, dim=1), logits
        raise GradientError(
            "no gradient of the score reaches the attention: it runs under inference_mode, a reentrant checkpoint or a "
            "detach; turn that off, or use rollout"
        )

    def readouts(self, targets: Targets, step: GradientStep) -> tuple[Tensor, Tensor]:
        """The same, first block first, of the scores that are read off after each block, and of what pools them."""
        logits, taken = self._taken()
        blocks = self._blocks(taken)
        targets = targets.settled(logits.detach())
        folded: Sequence[Tensor | None] = [None] * targets.scores(logits).shape[1]
        for block in blocks:
            folded = self._read_out(blocks, block, taken, targets, step, folded)
        whole = [tensor for tensor in folded if tensor is not None]
        if len(whole) < len(folded):
            raise GradientError(
                "no gradient of the score reaches the attention: what follows it is detached; use gradient_rollout"
            )
        return torch.stack(whole, dim=1), logits

    @contextmanager
    def _lightened(self, watch: _Watch) -> Iterator[None]:
        """While this is open, attention that is not fused is computed again for its gradient, and not held."""
        calls = [] if self._graph else [call for call in self.plan.calls if not call.fused]
        names = {call.modules[-1] for call in calls if self._trace.runs[call.modules[-1]] == 1}
        modules = self._session.modules([name for name in names if name])
        within = {name: [call for call in self._trace.calls if name in call.modules] for name in modules}
        with forwards({modules[name]: _Twice(modules[name].forward, within[name], watch) for name in modules}):
            yield

    def _around(self, call: Call) -> list[str]:
        """The modules that hold this attention of the plan and no other, and run once, outermost first."""
        alone = [name for name in call.modules if name and sum(name in one.modules for one in self.plan.calls) == 1]
        return [name for name in alone if self._trace.runs[name] == 1]

    def _taken(self) -> tuple[Tensor, dict[str, _Taken]]:
        """The logits of a pass, and what the modules around attention are given and answer, where these are alike."""
        squares = [call for call in self.plan.calls if not call.is_pool]
        modules = self._session.modules([name for call in squares for name in self._around(call)])
        taken: dict[str, _Taken] = {}

        def keeping(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*inputs: Any, **named: Any) -> Any:
                answer = forward(*inputs, **named)
                found = _Taken.of(inputs, named, answer)
                taken.update({name: found} if found else {})
                return answer

            return run

        with self._passing(), forwards({module: keeping(name, module.forward) for name, module in modules.items()}):
            logits = self._session.call(self._images)
        return logits, taken

    def _blocks(self, taken: dict[str, _Taken]) -> list[_Block]:
        """The blocks around the attentions, in order; without any, what pools the tokens is all there is."""
        pools = [call for call in self.plan.calls if call.is_pool]
        blocks = []
        for call in self.plan.calls:
            if not call.is_pool:
                fitting = [name for name in self._around(call) if name in taken and self._has_all_tokens(name)]
                if not fitting:
                    raise NoAttentionError(
                        f"readouts after each block were asked for; no module holds the attention in "
                        f"{call.modules[-1]!r} alone and answers with the tokens that it gets: use gradient_rollout"
                    )
                blocks.append(_Block(fitting[0], [call]))
        if not blocks:
            return [_Block("", pools)]
        return [*blocks[:-1], _Block(blocks[-1].name, [*blocks[-1].calls, *pools])]

    def _has_all_tokens(self, name: str) -> bool:
        layout = self._trace.layout(name, self._session.modules([name])[name])
        return layout is not None and layout.grid == self.plan.layout.grid

    def _read_out(
        self,
        blocks: Sequence[_Block],
        block: _Block,
        taken: dict[str, _Taken],
        targets: Targets,
        step: GradientStep,
        folded: Sequence[Tensor | None],
    ) -> Sequence[Tensor | None]:
        """Fold one block's attention: it gets what it got, and the other blocks pass on what they get."""
        modules = self._session.modules([one.name for one in blocks if one.name])
        others = {name for name in modules if name != block.name}
        replacements = {modules[name]: taken[name].passing_on for name in others}
        if block.name:
            module = modules[block.name]
            replacements[module] = partial(taken[block.name].given_again, module.forward)
        calls = [call for call in self._trace.calls if others.isdisjoint(call.modules)]
        with _Watch(self.plan, step, self._graph) as watch:
            with self._passing(), forwards(replacements), _tap(calls, block.calls, watch.take):
                logits = self._session.call(self._images)
            return watch.run(scores_of(targets, logits), folded) or folded


@dataclass(frozen=True)
class _Block:
    """A module that holds attentions of the plan, and which."""

    name: str
    calls: list[Call]


@dataclass(frozen=True)
class _Taken:
    """What a block was given, where among its arguments, and what it answered."""

    place: int | str
    tokens: Tensor
    answer: Any

    @classmethod
    def of(cls, inputs: Sequence[Any], named: dict[str, Any], answer: Any) -> _Taken | None:
        """Find the tokens among a module's arguments: they are shaped as those it answers with. None: it has none."""
        tokens = first_tensor(answer)
        if tokens is None:
            return None
        given: list[tuple[int | str, Any]] = [*enumerate(inputs), *named.items()]
        places = ((place, value) for place, value in given if isinstance(value, Tensor))
        return next((cls(place, value, answer) for place, value in places if value.shape == tokens.shape), None)

    def passing_on(self, *inputs: Any, **named: Any) -> Any:
        """Answer with the tokens that are given now."""
        given = inputs[self.place] if isinstance(self.place, int) else named[self.place]
        old: Tensor = first_tensor(self.answer)  # type: ignore[assignment]  # it has one: see ``of``
        return replaced(self.answer, old, given)

    def given_again(self, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """Answer what the block makes of the tokens that it got."""
        if isinstance(self.place, int):
            return forward(*inputs[: self.place], self.tokens, *inputs[self.place + 1 :], **named)
        return forward(*inputs, **{**named, self.place: self.tokens})


@contextmanager
def _tap(calls: Sequence[Call], wanted: Sequence[Call], take: Callable[[Call, Weighing], None]) -> Iterator[None]:
    """While this is open, of the attentions of a pass, which are ``calls``, the ``wanted`` ones are taken."""

    def told(number: int, weighing: Weighing) -> None:
        if number < len(calls) and calls[number] in wanted:
            take(calls[number], weighing)

    with AttentionTap(told):
        yield


def _checked(weights: Tensor, images: int) -> Tensor:
    if len(weights) != images:
        raise NoAttentionError(
            f"attention over the whole picture was asked for; {images} images gave {len(weights)} sequences: {INSTEAD}"
        )
    return weights


class _Watch:
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

    def __enter__(self) -> _Watch:
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


class _Twice:
    """A module's forward that keeps nothing for the backward pass but its inputs, and is run again then."""

    def __init__(self, forward: Callable[..., Any], calls: Sequence[Call], watch: _Watch) -> None:
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
        with _tap(self._calls, self._calls, lambda call, weighing: self._keep(call, weighing.weights())):
            return self._forward(*inputs, **named)

    def _keep(self, call: Call, weights: Tensor) -> None:
        self._watch.again[call] = weights.detach()
