"""The candidates: pairs of a method and the layers that it looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from torch import nn

from pellucid.choosing.subjects import Subjects
from pellucid.core import catalogue, gates
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.models.discovery.layers import candidates, recommended, share_of
from pellucid.models.discovery.passage import ENOUGH, Group
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session

_CONVENTION = "gradcam"
STAGES = 4
"""The layers beside those that are found."""


@dataclass(frozen=True)
class LayersToTry:
    """Layers that a method looks at together, and the share of the score that passes through them.

    ``place``: where they stand in the network, as in the test against random weights (``core/gates.py``).
    ``attends``: whether the network attends.
    """

    layers: Group
    share: float | None = None
    place: str = gates.MIDDLE
    attends: bool = False

    @property
    def is_found(self) -> bool:
        """Whether they are those that are found if none is named."""
        return self.place == gates.FOUND


@dataclass(frozen=True)
class Pair:
    """A method at some layers; ``passes``: the images that go through the network forward to explain one."""

    method: Method
    at: LayersToTry
    passes: int = 0

    @property
    def layers(self) -> Group:
        """The layers' names."""
        return self.at.layers

    @property
    def share(self) -> float | None:
        """How much of the score passes through the layers."""
        return self.at.share

    @property
    def is_convention(self) -> bool:
        """Whether it is what ``explain`` does if nothing is named."""
        return self.at.is_found and self.method.name == _CONVENTION

    @property
    def failure(self) -> str:
        """Where the method fails, at such a place of a network of this kind; empty if it does not."""
        failed = gates.failures_like(self.method.name, self.at.place, self.at.attends)
        return f"fails against random weights ({failed[0]})" if failed else ""

    @property
    def excluded(self) -> str:
        """Why it can never be chosen; empty if it can be."""
        if self.failure:
            return self.failure
        if self.share is not None and self.share < ENOUGH:
            return f"{self.share:.2f} of the score passes through the layer, below {ENOUGH}"
        return ""


Key = tuple[str, Group, tuple[tuple[str, object], ...]]


def key_of(pair: Pair) -> Key:
    """What tells pairs apart: the method with its options, and the layers."""
    return pair.method.name, pair.layers, tuple(catalogue.settings(pair.method).items())


def gradient_methods() -> list[str]:
    """The methods of the first stage if none are named: of gradients or attention, for a class, that wrap no other."""
    return [name for name in _of_a_class() if name not in catalogue.gradient_free_methods()]


def perturbing_methods() -> list[str]:
    """The methods that the second stage adds: they ask the network for the scores of changed images."""
    return [name for name in _of_a_class() if name in catalogue.gradient_free_methods()]


def _of_a_class() -> list[str]:
    known = catalogue.registered()
    return [name for name in catalogue.names() if known[name].class_specific and not _wraps(known[name])]


def _wraps(cls: type[Method]) -> bool:
    return any(isinstance(option.default, Method) for option in fields(cls))  # type: ignore[arg-type]  # a dataclass


def pairs_of(methods: Sequence[str | Method], groups: Sequence[LayersToTry]) -> list[Pair]:
    """Every method at all of the layers that are tried, and once if it looks at none."""
    chosen = [catalogue.find(one)() if isinstance(one, str) else one for one in methods]
    whole = [LayersToTry((), None, gates.WHOLE, any(at.attends for at in groups))]
    return [Pair(method, at) for method in chosen for at in (groups if method.uses_layers else whole)]


def layers_to_try(subjects: Subjects, layers: Sequence[str]) -> list[LayersToTry]:
    """The layers that are named; if none is, those that are found, at the end, and some before them."""
    session, image = subjects.session, subjects.prepared_one()
    found = recommended(session, image)
    stages = groups_of(session, image, found)
    profile = profile_of(session, image)
    order, attends = {name: number for number, name in enumerate(profile.shapes)}, bool(profile.attention_calls)

    def place(group: Group) -> str:
        if group == found:
            return gates.FOUND
        return gates.EARLY if order.get(group[-1], len(order)) <= order[stages[0][-1]] else gates.MIDDLE

    groups = [(name,) for name in layers] or stages
    return [LayersToTry(group, share_of(session, image, group), place(group), attends) for group in groups]


def groups_of(session: Session, image: Inputs, found: Group) -> list[Group]:
    """The layers that are found, and about four stages before them, in the order in which the network runs them.

    Of more stages than these: the last of each grid, the coarsest first, and then those that are evenly spaced.
    """
    profile = profile_of(session, image)
    modules = dict(session.network.named_modules())
    allowed = [name for name in candidates(profile, session.network) if name not in profile.branches]
    stages = _stages(session.network, sorted(allowed, key=list(profile.shapes).index))
    cells = {name: _cells(profile, modules, name) for name in stages}
    chosen = stages if len(stages) <= STAGES + 1 else _spread(stages, cells)
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
