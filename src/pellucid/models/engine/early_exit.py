"""Early exits (LeGrad): scores read after each block, as if all other blocks passed their input through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.probe import Step
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError
from pellucid.models.discovery.attention_plan import Call, intercepted
from pellucid.models.engine.attention_fold import NOT_REACHED, AttentionFold
from pellucid.models.engine.attention_gradients import AttentionGradients
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.derivatives import scores_of
from pellucid.models.session.hooks import first_tensor, forwards, recorded, replaced


class EarlyExit:
    """The attention of one batch, and the scores that are read after each block."""

    def __init__(self, fold: AttentionFold) -> None:
        self._fold = fold

    def folded(self, step: Step, targets: Targets) -> tuple[Tensor, Tensor]:
        """The result of ``step`` over attention and gradients, first block first, (B, K, …), and the logits.

        A block's gradients are those of the score read after it; a pooling call's are those of the final score.
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
        """The modules that contain this group of calls and no other, and run once, outermost first."""
        alone = [name for name in group[0].modules if name and all(name in call.modules for call in group)]
        held = {name: sum(name in call.modules for call in self._fold.plan.calls) for name in alone}
        return [name for name in alone if held[name] == len(group) and len(self._fold.profile.runs[name]) == 1]

    def _taken(self) -> tuple[Tensor, dict[str, _Taken]]:
        """The logits of a pass, and input tokens and outputs of the modules around attention, if of one shape."""
        groups = [group for group in self._fold.plan.groups if not group[0].is_pool]
        modules = self._fold.session.modules([name for group in groups for name in self._around(group)])
        taken: dict[str, _Taken] = {}

        def keeping(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*inputs: Any, **named: Any) -> Any:
                given: list[tuple[int | str, Any]] = [*enumerate(inputs), *named.items()]
                # Copies: the module may write into its input.
                kept = {argument: value.clone() for argument, value in given if isinstance(value, Tensor)}
                output = forward(*inputs, **named)
                found = _Taken.of(kept, output)
                taken.update({name: found} if found else {})
                return output

            return run

        keep = {module: keeping(name, module.forward) for name, module in modules.items()}
        with forwards(keep):
            logits = self._fold.session.call(self._fold.inputs)
        return logits, taken

    def _passing_on(self, taken: Mapping[str, _Taken]) -> set[str]:
        """The modules in ``taken`` whose output depends on their input even if attention outputs zeros.

        The branch of a residual connection does not: a skipped branch would have to output zeros, not its input.
        """
        modules, passing, asked = self._fold.session.modules(list(taken)), set[str](), list[str]()

        def asking(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
            def run(*inputs: Any, **named: Any) -> Any:
                output = forward(*inputs, **named)
                if not asked:  # else this module is inside the one that is tested
                    asked.append(name)
                    tokens = taken[name].tokens
                    others = (tokens.clone(), tokens.flip(-1) + 1)
                    again = [replace(taken[name], tokens=one).given_again(forward, *inputs, **named) for one in others]
                    one, other = map(first_tensor, again)
                    passing.update([] if one is None or other is None or torch.equal(one, other) else [name])
                    asked.pop()
                return output

            return run

        ask = {module: asking(name, module.forward) for name, module in modules.items()}
        closed = AttentionMode(lambda _, attention: attention.changed(torch.zeros_like))
        with torch.no_grad(), forwards(ask), closed:
            self._fold.session.call(self._fold.inputs)
        return passing

    def _blocks(self, taken: dict[str, _Taken]) -> list[_Block]:
        """The blocks around the attention calls, in order; the last one also holds the pooling calls."""
        plan, blocks = self._fold.plan, list[_Block]()
        passing = self._passing_on(taken)
        for group in plan.groups:
            if not group[0].is_pool:
                fitting = [name for name in self._around(group) if name in passing and self._has_all_tokens(name)]
                if not fitting:
                    raise NoAttentionError(
                        f"readouts after each block were asked for; no module holds the attention in "
                        f"{group[0].modules[-1]!r} alone and passes on its input tokens: use gradient_rollout"
                    )
                blocks.append(_Block(fitting[0], list(group)))
        found = blocks or [_Block("", [])]
        return [*found[:-1], _Block(found[-1].name, [*found[-1].calls, *plan.pools])]

    def _has_all_tokens(self, name: str) -> bool:
        layout = self._fold.profile.layout(name, self._fold.session.modules([name])[name])
        return layout is not None and layout.entries == 1 and layout.grid == self._fold.plan.layout.grid

    def _read_out(
        self,
        blocks: Sequence[_Block],
        block: _Block,
        taken: dict[str, _Taken],
        targets: Targets,
        step: Step,
        folded: Sequence[Tensor | None],
    ) -> Sequence[Tensor | None]:
        """Fold one block's attention: the block gets its captured input, and the other blocks return their input."""
        modules = self._fold.session.modules([one.name for one in blocks if one.name])
        others = {name for name in modules if name != block.name}
        passing = {modules[name]: taken[name].passing_on for name in others}
        count = len(self._fold.inputs)
        calls = [call for call in self._fold.profile.attention_calls if others.isdisjoint(call.modules)]
        # The graph starts at the attention, or at the block's input for a block with its own checkpoint.
        for whole in (False, True):
            given = {}
            if block.name:
                own, module = taken[block.name], modules[block.name]
                own = replace(own, tokens=own.tokens.detach().requires_grad_()) if whole else own
                given[module] = partial(own.given_again, module.forward)
            with AttentionGradients(self._fold.plan, self._fold.inputs.images, step, self._fold.graph) as watch:
                logits = self._pass({**passing, **given}, whole, intercepted(calls, block.calls, count, watch.take))
                if (found := watch.fold(scores_of(targets, logits), folded)) is not None:
                    return found
        return folded

    def _pass(self, forward: Mapping[nn.Module, Callable[..., Any]], whole: bool, mode: AttentionMode) -> Tensor:
        """The logits of a pass in which some modules run other functions."""
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(torch.is_grad_enabled()))
            if whole:
                stack.enter_context(recorded(self._fold.session.network))
            stack.enter_context(forwards(forward))
            stack.enter_context(mode)
            return self._fold.session.call(self._fold.inputs)


@dataclass(frozen=True)
class _Block:
    """A module, and the attention calls of the plan that it contains."""

    name: str
    calls: list[Call]


@dataclass(frozen=True)
class _Taken:
    """A block's input tokens, the argument that holds them, and its output."""

    argument: int | str
    tokens: Tensor
    output: Any

    @classmethod
    def of(cls, given: Mapping[int | str, Tensor], output: Any) -> _Taken | None:
        """Find the tokens among a module's arguments, by its output's shape; None if no argument has it."""
        tokens = first_tensor(output)
        shape = None if tokens is None else tokens.shape
        return next((cls(argument, value, output) for argument, value in given.items() if value.shape == shape), None)

    def passing_on(self, *inputs: Any, **named: Any) -> Any:
        """The captured output with its tokens replaced by the current input's."""
        given = inputs[self.argument] if isinstance(self.argument, int) else named[self.argument]
        old: Tensor = first_tensor(self.output)  # type: ignore[assignment]  # it has one: see ``of``
        return replaced(self.output, old, given)

    def given_again(self, forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        """The block's output for the captured tokens."""
        if isinstance(self.argument, int):
            return forward(*inputs[: self.argument], self.tokens, *inputs[self.argument + 1 :], **named)
        return forward(*inputs, **{**named, self.argument: self.tokens})
