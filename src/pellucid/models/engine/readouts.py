"""Scores read off after each block (LeGrad): the network as it would be if the other blocks passed on what they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.core.inputs import explained
from pellucid.core.probe import GradientStep
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError
from pellucid.models.attention import Call
from pellucid.models.engine.attending import NOT_REACHED, Attending
from pellucid.models.engine.attention import AttentionTap
from pellucid.models.engine.capture import first_tensor, recording, replaced
from pellucid.models.engine.derivatives import scores_of
from pellucid.models.engine.replay import forwards
from pellucid.models.engine.watch import Watch, tapped


class Readouts:
    """The attention of one batch, and the scores that are read off after each block."""

    def __init__(self, attending: Attending) -> None:
        self._of = attending

    def folded(self, targets: Targets, step: GradientStep) -> tuple[Tensor, Tensor]:
        """What ``step`` makes of attention and gradients, first block first, (B, K, …), and the logits of the pass.

        A block's gradients are of the score that is read off after it; of what pools the tokens, of the score itself.
        """
        logits, taken = self._taken()
        blocks = self._blocks(taken)
        targets = targets.resolved(logits.detach())
        folded: Sequence[Tensor | None] = [None] * targets.scores(logits).shape[1]
        for block in blocks:
            folded = self._read_out(blocks, block, taken, targets, step, folded)
        whole = [tensor for tensor in folded if tensor is not None]
        if len(whole) < len(folded):
            raise GradientError(NOT_REACHED)
        return torch.stack(whole, dim=1), logits

    def _around(self, group: tuple[Call, ...]) -> list[str]:
        """The modules that hold this group of attentions and no other, and run once, outermost first."""
        alone = [name for name in group[0].modules if name and all(name in call.modules for call in group)]
        held = {name: sum(name in call.modules for call in self._of.plan.calls) for name in alone}
        return [name for name in alone if held[name] == len(group) and self._of.trace.runs[name] == 1]

    def _taken(self) -> tuple[Tensor, dict[str, _Taken]]:
        """The logits of a pass, and what the modules around attention are given and answer, where these are alike."""
        groups = [group for group in self._of.plan.groups if not group[0].is_pool]
        modules = self._of.session.modules([name for group in groups for name in self._around(group)])
        taken: dict[str, _Taken] = {}

        def keeping(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*inputs: Any, **named: Any) -> Any:
                given: list[tuple[int | str, Any]] = [*enumerate(inputs), *named.items()]
                # Copies: the module may write into what it gets.
                kept = {place: value.clone() for place, value in given if isinstance(value, Tensor)}
                answer = forward(*inputs, **named)
                found = _Taken.of(kept, answer)
                taken.update({name: found} if found else {})
                return answer

            return run

        replaced = {module: keeping(name, module.forward) for name, module in modules.items()}
        with self._of.passing(), forwards(replaced):
            logits = self._of.session.call(self._of.images)
        return logits, taken

    def _passing_on(self, taken: Mapping[str, _Taken]) -> set[str]:
        """Of these modules, those whose answer depends on what they get also where no attention lets it through.

        A branch beside a residual connection does not: instead of what it gets it would have to answer with nothing.
        """
        modules, passing, asked = self._of.session.modules(list(taken)), set[str](), list[str]()

        def asking(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*inputs: Any, **named: Any) -> Any:
                answer = forward(*inputs, **named)
                if not asked:  # else this is within a module that is asked
                    asked.append(name)
                    tokens = taken[name].tokens
                    others = (tokens.clone(), tokens.flip(-1) + 1)
                    again = [replace(taken[name], tokens=one).given_again(forward, *inputs, **named) for one in others]
                    one, other = map(first_tensor, again)
                    passing.update([] if one is None or other is None or torch.equal(one, other) else [name])
                    asked.pop()
                return answer

            return run

        replaced = {module: asking(name, module.forward) for name, module in modules.items()}
        closed = AttentionTap(lambda _, weighing: weighing.changed(torch.zeros_like))
        with torch.no_grad(), forwards(replaced), closed:
            self._of.session.call(self._of.images)
        return passing

    def _blocks(self, taken: dict[str, _Taken]) -> list[_Block]:
        """The blocks around the attentions, in order; without any, what pools the tokens is all there is."""
        plan, blocks = self._of.plan, list[_Block]()
        passing = self._passing_on(taken)
        for group in plan.groups:
            if not group[0].is_pool:
                fitting = [name for name in self._around(group) if name in passing and self._has_all_tokens(name)]
                if not fitting:
                    raise NoAttentionError(
                        f"readouts after each block were asked for; no module holds the attention in "
                        f"{group[0].modules[-1]!r} alone and passes on the tokens that it gets: use gradient_rollout"
                    )
                blocks.append(_Block(fitting[0], list(group)))
        found = blocks or [_Block("", [])]
        return [*found[:-1], _Block(found[-1].name, [*found[-1].calls, *plan.pools])]

    def _has_all_tokens(self, name: str) -> bool:
        layout = self._of.trace.layout(name, self._of.session.modules([name])[name])
        return layout is not None and layout.grid == self._of.plan.layout.grid

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
        modules = self._of.session.modules([one.name for one in blocks if one.name])
        others = {name for name in modules if name != block.name}
        passing = {modules[name]: taken[name].passing_on for name in others}
        images = explained(self._of.images)
        calls = [call for call in self._of.trace.calls if others.isdisjoint(call.modules)]
        # The graph begins at the attention; a block with a checkpoint of its own has to be recorded whole.
        for whole in (False, True):
            given = {}
            if block.name:
                own, module = taken[block.name], modules[block.name]
                own = replace(own, tokens=own.tokens.detach().requires_grad_()) if whole else own
                given[module] = partial(own.given_again, module.forward)
            kept = partial(recording, self._of.session.network) if whole else nullcontext
            with Watch(self._of.plan, images, step, self._of.graph) as watch:
                tap = tapped(calls, block.calls, len(images), watch.take)
                with self._of.passing(), kept(), forwards({**passing, **given}), tap:
                    logits = self._of.session.call(self._of.images)
                if (found := watch.run(scores_of(targets, logits), folded)) is not None:
                    return found
        return folded


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
    def of(cls, given: Mapping[int | str, Tensor], answer: Any) -> _Taken | None:
        """Find the tokens among a module's arguments: they are shaped as those it answers with. None: it has none."""
        tokens = first_tensor(answer)
        shape = None if tokens is None else tokens.shape
        return next((cls(place, value, answer) for place, value in given.items() if value.shape == shape), None)

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
