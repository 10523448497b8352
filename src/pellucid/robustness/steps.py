"""A change or an attack at one level: what both give of images, and where their maps lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from pellucid.core.attack import Attack
from pellucid.core.change import Change
from pellucid.core.method import Method
from pellucid.core.registry import options
from pellucid.evaluation.scoring.network import Network
from pellucid.run.attack import attack
from pellucid.run.pixels import Pixels


@dataclass(frozen=True, eq=False)
class Given:
    """P images: their ``pixels``, the ``classes`` (P,) whose answers and maps are looked at, and a seed for each."""

    pixels: Pixels
    classes: Tensor
    seeds: Sequence[int]


class Step(Protocol):
    """A change at one level. ``change`` is the label that it was asked for by, ``by_method`` whether it needs a map."""

    @property
    def change(self) -> str:
        """The label of the change."""

    @property
    def level(self) -> float:
        """How much is changed, in ``unit``."""

    @property
    def unit(self) -> str:
        """What the level is."""

    @property
    def what(self) -> Change | Attack:
        """The change or attack itself, with this level."""

    @property
    def is_attack(self) -> bool:
        """Whether the change is searched for."""

    @property
    def by_method(self) -> bool:
        """Whether the changed images differ from method to method."""

    def images(self, given: Given, network: Network, method: Method) -> Tensor:
        """The network's input (P, C, *space) for the changed images."""

    def shortened(self) -> Step:
        """The same with as little search as there can be, to try whether it is possible."""

    def restored(self, maps: Tensor) -> Tensor:
        """Maps (P, *space) of the changed images in the frame of the images as they were."""

    def visible(self, space: Sequence[int]) -> Tensor:
        """Which positions (*space) bool can be compared."""


@dataclass(frozen=True)
class ByChange:
    """A ``Change`` of pixels."""

    change: str
    what: Change
    is_attack: bool = False
    by_method: bool = False

    @property
    def level(self) -> float:
        """The strength."""
        return self.what.strength

    @property
    def unit(self) -> str:
        """What the strength is."""
        return self.what.unit

    def images(self, given: Given, network: Network, method: Method) -> Tensor:  # noqa: ARG002  # asks neither
        """The input for the changed pixels; the input as it was, to the last bit, where nothing changes."""
        pixels = given.pixels
        changed = self.what.changed(pixels.pixels, given.seeds)
        return pixels.input_of(changed, torch.arange(len(changed))).to(pixels.values)

    def shortened(self) -> ByChange:
        """The same: nothing is searched for."""
        return self

    def restored(self, maps: Tensor) -> Tensor:
        """Maps that are moved back."""
        return self.what.restored(maps) if self.level else maps

    def visible(self, space: Sequence[int]) -> Tensor:
        """What the changed image shows."""
        return self.what.visible(space)


@dataclass(frozen=True)
class ByAttack:
    """An ``Attack`` on the answer, or on the map of a method, with ε as its level."""

    change: str
    what: Attack
    is_attack: bool = True
    unit: str = "the attack's ε, of pixels in [0, 1]"

    @property
    def level(self) -> float:
        """The budget ε."""
        return float(self.what.epsilon)  # type: ignore[attr-defined]  # the plan makes sure of it

    @property
    def by_method(self) -> bool:
        """Whether it is about a map."""
        return self.what.moves_map

    def images(self, given: Given, network: Network, method: Method) -> Tensor:
        """The input for the images that the attack finds."""
        found = attack(
            network.model,
            given.pixels.values,
            self.what,
            given.classes,
            method if self.what.moves_map else None,
            preprocessing=network.preprocessing,
            head=network.head,
            output=network.output,
            runtime=network.runtime,
        )
        return found.images.to(given.pixels.values)

    def shortened(self) -> ByAttack:
        """The attack with one step, if it takes steps."""
        if "steps" not in options(type(self.what)):
            return self
        return replace(self, what=replace(self.what, steps=1))  # type: ignore[type-var]  # a frozen dataclass

    def restored(self, maps: Tensor) -> Tensor:
        """The maps: no attack moves what is shown."""
        return maps

    def visible(self, space: Sequence[int]) -> Tensor:
        """All of the image."""
        return torch.ones(tuple(space), dtype=torch.bool)
