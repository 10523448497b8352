"""Which layers to explain, by proof of passage: the deepest through which the score passes.

The share of layers of the trunk (blocks and what stands between them) falls with the depth, so that the deepest with
enough of it is found by bisection. Where a layer within the next block has enough, too, that one is taken, as it is
deeper. Where no single layer has enough, as in an ensemble, it is a set of layers of which none depends on another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.models.discovery.passage import ENOUGH, PAIRS, Group, Passage
from pellucid.models.session.layer_pass import outputs_at
from pellucid.models.session.session import Session

_PROBES = 4
"""Steps of the bisection: enough for 15 blocks; of more, the choice may be a block too early."""
_PROBING = PAIRS // 2
"""Pairs of a step; the layer that is chosen is measured by all."""
_LARGEST = 16
"""The most layers of a set."""
_NUMBERED = re.compile(r"\d+$")


def by_passage(session: Session, image: Inputs, layers: Sequence[str], parts: Sequence[str]) -> Group:
    """The layers to explain, of candidates that are given deepest first.

    The first has a gradient. ``parts`` are those of the candidates through which only a part goes in any network.
    """
    deepest = layers[0]
    trunk = _trunk(layers, parts)
    inner = {name: _counterpart(name, deepest, trunk, layers) for name in trunk}
    passage = Passage.of(session, image, list({deepest, *trunk, *filter(None, inner.values())}))
    share = passage.share((deepest,))
    if share is None or share >= ENOUGH or deepest in parts:
        return (deepest,)
    for group in _singles(passage, trunk, inner):
        if (passage.share(group) or 0.0) >= ENOUGH:
            return group
    several = _independent(session, image, [name for name in layers if name not in parts])
    joint = passage.at(several).share(several) if len(several) > 1 else None
    return several if joint is not None and joint >= ENOUGH else (deepest,)


def _trunk(layers: Sequence[str], parts: Sequence[str]) -> list[str]:
    """The candidates that stand in no block that is a candidate itself, deepest first."""
    blocks = {name for name in layers if _NUMBERED.search(name)}
    return [name for name in layers if name not in parts and not any(name.startswith(f"{one}.") for one in blocks)]


def _counterpart(block: str, deepest: str, trunk: Sequence[str], layers: Sequence[str]) -> str | None:
    """The layer that stands in a block where the deepest layer stands in its own."""
    own = next((one for one in trunk if deepest.startswith(f"{one}.")), None)
    kind = next((one for one in _enclosing(deepest) if _NUMBERED.search(one)), None) if own is None else own
    name = f"{block}{deepest.removeprefix(kind)}" if kind is not None else ""
    return name if name in layers else None


def _enclosing(name: str) -> list[str]:
    """The modules that a layer stands in, the innermost first."""
    ends = [end for end, sign in enumerate(name) if sign == "."]
    return [name[:end] for end in reversed(ends)]


def _singles(passage: Passage, trunk: Sequence[str], inner: dict[str, str | None]) -> list[Group]:
    """Single layers that may have enough, the deepest first: one within the block after the trunk's, and the latter."""

    def enough(name: str) -> bool:
        return (passage.estimate((name,), _PROBING) or 0.0) >= ENOUGH

    low, high = 0, len(trunk)  # all before low have too little, those from high on have enough
    for _ in range(_PROBES):
        if low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(trunk[middle]) else (middle + 1, high)
    within = inner[trunk[high - 1]] if high else None
    return [(name,) for name in (within, *trunk[high : high + 1]) if name is not None]


def _independent(session: Session, image: Inputs, layers: Sequence[str]) -> Group:
    """The deepest layers of which none depends on another, in the order in which the network runs them."""
    _, outputs = outputs_at(session, image, layers, graph=True)
    chosen: list[str] = []
    before: set[str] = set()
    for name in layers:
        if name not in before and len(chosen) < _LARGEST:
            chosen.append(name)
            before |= _before(outputs, name)
    return tuple(reversed(chosen))


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
