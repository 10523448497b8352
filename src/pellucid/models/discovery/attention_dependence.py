"""Find, on noise, how a network's attention calls depend on one another and which tokens its scores are read from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.core.target import Targets
from pellucid.models.discovery.attention_plan import Call, Plan, intercepted, planned
from pellucid.models.discovery.noise import noise_image, without_zeros
from pellucid.models.discovery.places import check_tokens_are_fixed
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.attention_calls import AttentionCall
from pellucid.models.session.cache import remembered
from pellucid.models.session.hooks import at_rest
from pellucid.models.session.layer_pass import arriving
from pellucid.models.session.session import Session

_LAST = 12
"""The number of last layers that are searched for the tokens the scores are read from."""


@dataclass(frozen=True)
class Dependence:
    """How attention calls depend on one another, by their numbers.

    ``idle`` calls pool tokens, but the score does not use them; ``beside`` calls do not depend on the call before them.
    """

    idle: frozenset[int]
    beside: frozenset[int]


def plan_of(session: Session, inputs: Inputs) -> Plan:
    """The attention calls to fold, grouped by how they depend on one another, without those the score does not use."""
    return remembered(session.model, ("attention plan", session.key(inputs)), lambda: _planned(session, inputs))


def _planned(session: Session, inputs: Inputs) -> Plan:
    profile = profile_of(session, inputs)
    check_tokens_are_fixed(profile)
    plan = planned(profile.attention_calls, profile.grids, profile.counts)
    dependence = _Asking(session, profile, noise_image(inputs)).dependence(plan)
    used = [call for call in profile.attention_calls if call.number not in dependence.idle]
    return planned(used, profile.grids, profile.counts, dependence.beside)


@dataclass(frozen=True)
class _Asking:
    session: Session
    profile: ModelProfile
    noise: Inputs

    def dependence(self, plan: Plan) -> Dependence:
        """Which calls depend on the call before, and whether the score depends on those that pool the tokens.

        Heads may be computed one by one. The score may ignore a call that pools the tokens (SigLIP's, in transformers).
        """
        first: dict[Call, Tensor] = {}  # the first output of each call: weights may be used twice

        def take(call: Call, attention: AttentionCall) -> None:
            attention.begin()
            attention.changed(_noting(partial(first.setdefault, call)))

        mode = intercepted(self.profile.attention_calls, plan.calls, 1, take)
        logits = None
        with torch.no_grad(), suppress(Exception):  # of a network that does not take noise
            filled = without_zeros(self.session)
            with at_rest(filled.network), mode:
                logits = filled.call(self.noise)
        if logits is None:
            return Dependence(frozenset(), frozenset())
        used, chained = _gradients_arrive(logits, list(first.values()))
        pools = [call for call, is_used in zip(plan.calls, used, strict=True) if call.is_pool and not is_used]
        pairs = zip(plan.calls, plan.calls[1:], chained, strict=False)
        # A no_grad or a checkpoint may block the gradient: then a changed output is tried.
        beside = [call for before, call, after in pairs if not after and not self._follows(call, before)]
        return Dependence(frozenset(call.number for call in pools), frozenset(call.number for call in beside))

    def _follows(self, call: Call, before: Call) -> bool:
        """Whether a call's output changes with the output of the call before it; so it is where that fails."""

        def output(change: Callable[[Tensor], Tensor]) -> Tensor:
            found: list[Tensor] = []

            def take(one: Call, attention: AttentionCall) -> None:
                attention.changed(change if one is before else _noting(found.append))

            with torch.no_grad(), intercepted(self.profile.attention_calls, [before, call], 1, take):
                self.session.call(self.noise)
            return found[0].clone()

        with suppress(Exception):  # of a network that does not take the changed output
            return not torch.equal(output(lambda values: values), output(lambda values: values.flip(-1) + 1))
        return True


def _gradients_arrive(logits: Tensor, outputs: Sequence[Tensor]) -> tuple[list[bool], list[bool]]:
    """Whether the score has a gradient at each attention output, and each output one at the output before it."""
    with torch.enable_grad():
        totals = [logits.sum(), *(output.sum() for output in outputs[1:])]
    try:
        used = _has_gradients(totals[0], outputs)
        return used, [_has_gradients(total, [before])[0] for total, before in zip(totals[1:], outputs, strict=False)]
    except RuntimeError:  # the network writes into what its gradients need
        return [True] * len(outputs), [True] * (len(outputs) - 1)


def _has_gradients(score: Tensor, tensors: Sequence[Tensor]) -> list[bool]:
    """Whether a score has a gradient at each tensor; all False if its graph holds none of them."""
    if not score.requires_grad:
        return [False] * len(tensors)
    found = torch.autograd.grad(score, tensors, retain_graph=True, allow_unused=True)
    return [gradient is not None for gradient in found]


def _noting(note: Callable[[Tensor], object]) -> Callable[[Tensor], Tensor]:
    """A function that passes an output to ``note`` and returns it unchanged."""

    def change(output: Tensor) -> Tensor:
        note(output)
        return output

    return change


def tokens_read(session: Session, inputs: Inputs, layout: Layout) -> tuple[int, ...]:
    """The tokens after the last block that the scores are read from; the first patch stands for all patches.

    If no layer outputs these tokens, the first token; if that is a patch, all patches.
    """
    return remembered(session.model, ("tokens read", session.key(inputs)), lambda: _read(session, inputs, layout))


def _read(session: Session, inputs: Inputs, layout: Layout) -> tuple[int, ...]:
    profile = profile_of(session, inputs)
    modules = dict(session.network.named_modules())
    layouts = {name: profile.layout(name, modules[name]) for name in reversed(profile.shapes) if name in modules}
    fitting = {name: one for name, one in layouts.items() if one is not None and _is_of(one, layout)}
    counted = (_with_gradient(session, inputs, name, one) for name, one in islice(fitting.items(), _LAST))
    return next(filter(None, counted), (0,))


def _is_of(layout: Layout, tokens: Layout) -> bool:
    """Whether a layer outputs the same tokens."""
    return layout.kind == "tokens" and (layout.grid, layout.tokens) == (tokens.grid, tokens.tokens)


def _with_gradient(session: Session, inputs: Inputs, layer: str, layout: Layout) -> tuple[int, ...]:
    """A layer's tokens at which a score has a gradient, on noise; the first patch stands for all patches."""
    try:
        _, (gradient,) = arriving(without_zeros(session), noise_image(inputs), [layer], Targets("predicted"))
    except Exception:  # no gradient, or a network that does not take noise
        return ()
    if gradient is None:
        return ()
    counts = (gradient[0].movedim(layout.batch_axis, 0)[0] != 0).any(dim=-1)
    patches = layout.tokens
    alone = [index for index in range(len(counts)) if counts[index] and index not in patches]
    return (*alone, patches[0]) if counts[list(patches)].any() else tuple(alone)
