"""The candidates: pairs of a method and the layers that it looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from pellucid.core import catalogue, gates
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.models.discovery.layers import candidates, recommended, share_of
from pellucid.models.discovery.passage import ENOUGH, Group
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session

GRADIENTS = (
    "gradcam",
    "gradcam++",
    "hirescam",
    "layercam",
    "gradcam-elementwise",
    "xgradcam",
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "guided_backprop",
    "smoothgrad",
    "attnlrp",
    "gradient_rollout",
)
"""The methods of the first stage if none are named: those of gradients."""
PERTURBING = ("scorecam", "ablationcam", "occlusion")
"""The methods that the second stage adds: they ask the network for the scores of many changed images."""
STAGES = 4
"""The layers beside those that are found."""


@dataclass(frozen=True)
class Pair:
    """A method at some layers, none for a method without; ``share`` of the score that passes through them."""

    method: Method
    layers: Group
    share: float | None = None
    is_found: bool = False
    passes: float = 0.0
    """The images that go through the network forward to explain one."""

    @property
    def is_convention(self) -> bool:
        """Whether it is what ``explain`` does if nothing is named."""
        return self.is_found and self.method.name == "gradcam"

    @property
    def excluded(self) -> str:
        """Why it can never be chosen; empty if it can be."""
        failed = gates.failures(self.method.name)
        if failed:
            return f"fails against random weights ({failed[0]})"
        if self.share is not None and self.share < ENOUGH:
            return f"{self.share:.2f} of the score passes through the layer, below {ENOUGH}"
        return ""


def pairs_of(session: Session, image: Inputs, methods: Sequence[str | Method], layers: Sequence[str]) -> list[Pair]:
    """Every method at every layer; the layers are those that are found, and some before them, if none are named."""
    found = recommended(session, image)
    groups = [(name,) for name in layers] if layers else groups_of(session, image, found)
    shares = {group: share_of(session, image, group) for group in groups}
    made: list[Pair] = []
    for asked in methods:
        method = catalogue.find(asked)() if isinstance(asked, str) else asked
        if not method.uses_layers:
            made.append(Pair(method, ()))
            continue
        made += [Pair(method, group, shares[group], group == found) for group in groups]
    return made


def groups_of(session: Session, image: Inputs, found: Group) -> list[Group]:
    """The layers that are found, and about four stages before them, in the order in which the network runs them.

    Of more stages than these: the last of each grid, the coarsest first, and then those that are evenly spaced.
    """
    profile = profile_of(session, image)
    modules = dict(session.network.named_modules())
    allowed = [name for name in candidates(profile, session.network) if name not in profile.branches]
    stages = _stages(session.network, sorted(allowed, key=list(profile.shapes).index))
    chosen = (
        stages if len(stages) <= STAGES + 1 else _spread(stages, {one: _cells(profile, modules, one) for one in stages})
    )
    return [*((name,) for name in chosen if (name,) != found), found]


def _stages(network: nn.Module, allowed: Sequence[str]) -> list[str]:
    """The parts of a network that follow one another: its children, and theirs while there are too few."""
    modules = dict(network.named_modules())
    stages = _outermost(allowed)
    while len(stages) < STAGES:
        inner = {name: _outermost([one for one in allowed if one.startswith(f"{name}.")]) for name in stages}
        inner = {name: own for name, own in inner.items() if len(own) > 1}
        if not inner:
            break
        largest = max(inner, key=lambda name: sum(one.numel() for one in modules[name].parameters()))
        stages = [one for name in stages for one in (inner[name] if name == largest else [name])]
    blocks = [name for name in stages if next(modules[name].children(), None) is not None]
    return blocks if len(blocks) >= STAGES - 1 else stages


def _outermost(names: Sequence[str]) -> list[str]:
    """Those that stand in none of the others."""
    known = set(names)
    return [name for name in names if not any(name[:end] in known for end, sign in enumerate(name) if sign == ".")]


def _spread(stages: Sequence[str], cells: Mapping[str, int]) -> list[str]:
    last = {cells[name]: name for name in stages}
    chosen = {last[count] for count in sorted(last)[:STAGES]}
    for number in range(STAGES):
        if len(chosen) < STAGES:
            chosen.add(stages[round(number * (len(stages) - 1) / (STAGES - 1))])
    return [name for name in stages if name in chosen]


def _cells(profile: ModelProfile, modules: Mapping[str, nn.Module], name: str) -> int:
    layout = profile.layout(name, modules[name])
    return 0 if layout is None else math.prod(layout.grid)
