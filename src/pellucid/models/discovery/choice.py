"""Which layers to explain, by proof of passage: the deepest through which the score passes.

The share falls with the depth along modules that follow one another, so that the deepest with enough of it is found by
bisection, and then within the module after it, whose parts are deeper. Where no single layer has enough, as in an
ensemble, it is a set of layers of which none depends on another; else the layer that has most of those measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.errors import GradientError
from pellucid.models.discovery.noise import noise_image
from pellucid.models.discovery.passage import ENOUGH, Group, Passage
from pellucid.models.discovery.profile import Place
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.cache import remembered_while
from pellucid.models.session.layer_pass import outputs_at
from pellucid.models.session.session import Session

_PROBES = 7
"""The most steps of the bisections."""
_PROBING = 2
"""Pairs of a step; the layer that is chosen is measured by all."""
_LARGEST = 16
"""The most layers of a set."""


def by_passage(session: Session, image: Inputs, layers: Sequence[str], parts: Sequence[str]) -> Group:
    """The layers to explain, of candidates that are given deepest first.

    The first has a gradient. ``parts`` are those of the candidates through which only a part goes in any network.
    """
    deepest = layers[0]
    if deepest in parts:
        return (deepest,)
    whole = [name for name in layers if name not in parts]
    passage = Passage.of(session, image, [deepest])
    estimate = passage.estimate((deepest,), _PROBING, ENOUGH)
    if estimate is None:  # scores that do not move: what depends on what is all that can be known
        several = _independent(session, image, whole)
        passage.known[several] = None
        return several
    if estimate >= ENOUGH and _has_enough(passage, (deepest,)):
        return (deepest,)
    passage = passage.at_all(whole)
    shares: dict[str, float] = {}
    for layer in reversed(list(_bisected(passage, whole))):
        shares[layer] = passage.at([layer]).share((layer,)) or 0.0
        if shares[layer] >= ENOUGH:
            return (layer,)
    several = _independent(session, image, whole)
    if len(several) > 1 and _has_enough(passage.at(several), several):
        return several
    if shares:
        shares = {deepest: passage.at([deepest]).estimate((deepest,), _PROBING) or 0.0, **shares}
    return (max(shares, key=lambda layer: shares[layer], default=deepest),)


def _bisected(passage: Passage, layers: Sequence[str]) -> Iterator[str]:
    """Layers that seem to have enough, each deeper than the one before.

    A level are candidates that stand in the same candidate, deepest first.
    """
    level, left = _within(None, layers), _PROBES
    while level:
        passage = passage.at(level)
        low, high = 0, len(level)  # all before low have too little, those from high on have enough
        while low < high and left:
            middle, left = (low + high) // 2, left - 1
            has = (passage.estimate((level[middle],), _PROBING, ENOUGH) or 0.0) >= ENOUGH
            low, high = (low, middle) if has else (middle + 1, high)
        # The one before it in the network is tried where by all pairs the last one has too little.
        yield from reversed(level[high : high + 2])
        level = _within(level[high - 1], layers) if high and left else []


def _within(module: str | None, layers: Sequence[str]) -> list[str]:
    """The candidates whose nearest enclosing candidate is ``module``; None: those that stand in no candidate."""
    known = set(layers)
    return [name for name in layers if next((one for one in _enclosing(name) if one in known), None) == module]


def _enclosing(name: str) -> list[str]:
    """The modules that a layer stands in, the innermost first."""
    ends = [end for end, sign in enumerate(name) if sign == "."]
    return [name[:end] for end in reversed(ends)]


def _has_enough(passage: Passage, group: Group) -> bool:
    """Whether the score passes through a group of layers."""
    return (passage.share(group) or 0.0) >= ENOUGH


def _independent(session: Session, image: Inputs, layers: Sequence[str]) -> Group:
    """The deepest layers of which none depends on another, in the order in which the network runs them.

    The first is among them; of the others, those that the score depends on.
    """
    if session.is_quantised:  # torch has no gradients through it
        return (layers[0],)
    profile = profile_of(session, image)
    try:
        logits, captured = outputs_at(session, image, [profile.captured(layer) for layer in layers], graph=True)
        return _none_before_another({layer: captured[profile.captured(layer)] for layer in layers}, logits)
    except (GradientError, RuntimeError):  # inference_mode, writes: nothing more can be known
        return (layers[0],)


def _none_before_another(outputs: dict[str, Tensor], logits: Tensor) -> Group:
    used = _before({**outputs, "": logits}, "")
    chosen: list[str] = []
    before: set[str] = set()
    for name in outputs:
        if name not in before and (name in used or not chosen) and len(chosen) < _LARGEST:
            chosen.append(name)
            before |= _before(outputs, name)
    return tuple(reversed(chosen))


def dependent(session: Session, image: Inputs, places: Mapping[str, Sequence[Place]]) -> tuple[str, str] | None:
    """The first two of the layers, in the order of the network, of which the second depends on the first.

    None where each is a branch of its own, or where nothing can be known. It is found once for a model, its parameters
    and an input shape, at one pass of noise.
    """
    names = {place.occurrence.captured: layer for layer, own in places.items() for place in own}
    key = ("dependent", session.key(image), *names)
    return remembered_while(session.model, key, session.weights, lambda: _dependent(session, noise_image(image), names))


def _dependent(session: Session, noise: Inputs, names: Mapping[str, str]) -> tuple[str, str] | None:
    """The same, of the names by which outputs are captured, each with its layer."""
    try:
        _, outputs = outputs_at(session, noise, list(names), graph=True)
    except (GradientError, RuntimeError):  # quantised layers, inference_mode: nothing can be known
        return None
    for name, layer in names.items():
        before = _before(outputs, name)
        first = next((own for other, own in names.items() if other in before and own != layer), None)
        if first is not None:
            return first, layer
    return None


def _before(outputs: dict[str, Tensor], layer: str) -> set[str]:
    """The layers that a layer depends on, by its gradients, and itself."""
    output = outputs[layer]
    others = [name for name in outputs if name != layer and outputs[name].requires_grad]
    if not output.requires_grad or output.is_leaf or not others:
        return {layer}
    weights = torch.linspace(0.5, 1.5, output.numel(), device=output.device, dtype=output.dtype).view_as(output)
    found = torch.autograd.grad(
        output, [outputs[name] for name in others], weights, retain_graph=True, allow_unused=True
    )
    pairs = zip(others, found, strict=True)
    return {layer, *(name for name, gradient in pairs if gradient is not None and bool((gradient != 0).any()))}
