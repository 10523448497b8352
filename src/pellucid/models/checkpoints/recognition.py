"""Recognise the architecture of weights by their names and shapes, and load them strictly."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache

from torch import Tensor, nn

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.fitting import Match, chosen, matches
from pellucid.models.checkpoints.names import Names, unwrapped
from pellucid.models.checkpoints.reference import LayerSizes, Reference, describe, needed, weightless
from pellucid.models.checkpoints.refusals import OWN, few
from pellucid.models.operators import imported

SHARED = 0.25  # fraction of names that a state shares with the smallest member of its family


def recognise(state: Mapping[str, Tensor]) -> Match:
    """Find the one architecture whose weights have these names and shapes, torchvision's before timm's.

    The last layer may have any number of classes, the first convolution any number of channels, and the head any
    number of layers. ``CheckpointError``: none fits, or several do. They compute different things, so none is guessed.
    """
    tried: list[Reference] = []
    headless: list[Match] = []
    names = Names(state)
    for candidates in (torchvision_candidates, timm_candidates):
        alike = list(candidates(names))
        tried += alike
        fitting = [match for each in alike for match in matches(each, names)]
        if complete := _simplest(fitting):
            return chosen(complete)
        headless += fitting
    plain = unwrapped(state)
    if plain.keys() != state.keys() and len(plain) == len(state):
        return recognise(plain)
    raise _unknown(tried, headless, names)


def _simplest(fitting: Sequence[Match]) -> list[Match]:
    """Those with the architecture's own head if there are any, else those with another."""
    complete = [match for match in fitting if not match.problem]
    return [match for match in complete if match.head is None] or complete


def torchvision_candidates(names: Names) -> Iterator[Reference]:
    """Yield every member of a family that resembles the state, and one of each other family."""
    for family in torchvision_families().values():
        smallest = reference(min(family, key=lambda name: (len(name), name)))
        if _overlap(smallest, names) >= SHARED:
            yield from (reference(name) for name in family)
        else:
            yield smallest


def torchvision_families() -> Mapping[str, Sequence[str]]:
    """Return the names of torchvision's classification models, those of one file together."""
    torchvision = imported("torchvision")
    families = defaultdict(list)
    for name in torchvision.models.list_models(module=torchvision.models):
        families[torchvision.models.get_model_builder(name).__module__].append(name)
    return families


@cache
def reference(name: str) -> Reference:
    """Describe the weights of a torchvision architecture."""
    torchvision = imported("torchvision")
    with weightless():
        return describe(f"torchvision:{name}", torchvision.models.get_model(name, weights=None))


def timm_candidates(names: Names) -> Iterator[Reference]:
    """Return timm's models that have the state's first layer, and no layer of a size that the state lacks."""
    timm = imported("timm")
    sizes = LayerSizes.of(names.state)
    for name in timm.list_models():
        if _has_first_layer(timm.get_pretrained_cfg(name), names):
            # Constructors that compute with their weights, or make a layer that does not fit, are skipped.
            with suppress(RuntimeError, NotImplementedError, ValueError), weightless(sizes):
                yield describe(f"timm:{name}", timm.create_model(name))


def _has_first_layer(settings: object, names: Names) -> bool:
    first = getattr(settings, "first_conv", None)
    return any(f"{name}.weight" in names.before for name in ([first] if isinstance(first, str) else first or []))


def _overlap(candidate: Reference, names: Names) -> float:
    """Return the fraction of names that a state and an architecture share, by whatever prefixes and positions."""
    numbers = {child: str(number) for number, child in enumerate(candidate.children)}
    parts = [name.partition(".") for name in candidate.shapes]
    numbered = sum(f"{numbers.get(part[0])}.{part[2]}" in names.before for part in parts)
    shared = max(sum(name in names.before for name in candidate.shapes), numbered)
    return shared / max(1, min(len(candidate.shapes), len(names.state)))


def _likeness(candidate: Reference, names: Names) -> int:
    """Return the number of shared names minus the number of missing ones."""
    shared = len(candidate.shapes.keys() & names.closest(candidate).keys())
    return 2 * shared - len(candidate.shapes)


def _unknown(tried: Sequence[Reference], headless: Sequence[Match], names: Names) -> CheckpointError:
    """The error for weights that fit nothing: what differs from the closest architecture, and what to do."""
    bodies = {match.reference: match for match in headless}
    closest = max(bodies or tried, key=lambda each: _likeness(each, names))
    if closest in bodies:
        return but_for_the_head(bodies[closest], names)
    found = names.closest(closest)
    if not closest.shapes.keys() & found.keys():
        return CheckpointError(
            f"no known architecture has weights named {few(sorted(names.state))}; name it with spec= if a library "
            f"has it, else {OWN}"
        )
    return CheckpointError(
        f"the weights fit no known architecture; {differences(closest, found)} for the closest, {closest.spec}; "
        f"name it with spec= if a library has it, else {OWN}"
    )


def but_for_the_head(match: Match, names: Names) -> CheckpointError:
    """The error for weights that are an architecture's but for a head that cannot be read from them."""
    expected = match.reference
    is_named = all(match.prefix + name in names.state for name in match.state)
    found = names.closest(expected) if is_named else match.state  # else its children are numbered
    problems = [text for text in (differences(expected, found), match.problem) if text]
    return CheckpointError(
        f"the weights fit {match.spec} but for the head: {'; '.join(problems)}; "
        f"a network that was trained without labels has no classes to explain; if there are classes, {OWN}"
    )


def differences(expected: Reference, state: Mapping[str, Tensor], strict: bool = False) -> str:
    """Describe in one line why a state does not fit; "" if it fits. ``strict``: no size is free."""
    free = {} if strict else expected.free
    missing = sorted(needed(expected.shapes) - state.keys())
    unexpected = sorted(state.keys() - expected.shapes.keys())
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {shape}"
        for key, shape in expected.shapes.items()
        if key in state and tuple(state[key].shape) != shape and key not in free
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    return "; ".join(f"{len(keys)} {what} ({few(keys)})" for what, keys in parts if keys)


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Load weights that fit exactly; only ``num_batches_tracked`` may be absent.

    ``CheckpointError`` with the counts and first names of what differs; the model is unchanged then.
    """
    problem = differences(describe("", model), state, strict=True)
    if problem:
        raise CheckpointError(
            f"{os.fspath(path)}: the weights do not fit the model: {problem}; check spec= and the classes"
        )
    model.load_state_dict(dict(state), strict=False)
