"""What ``evaluate`` asks of a prior whose maps are drawn at random, and of one that is made from masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from pellucid.core.masks import Masks
from pellucid.core.method import MadeFrom, Method

STATEMENTS: dict[MadeFrom, str | None] = {
    "model": None,
    "image": "a prior: it never asks the model, and is made from the image alone",
    "masks": "a prior: it never asks the model and never sees the image, and is made from masks of other images",
    "nothing": "a prior: it never asks the model and never sees the image",
}
"""What metadata say of a map, by what it is made from."""


@runtime_checkable
class Drawn(Protocol):
    """A prior that is one of many random maps: metrics take the mean over ``many()`` of them."""

    def many(self) -> int:
        """How many maps a mean is taken over."""

    def drawn(self, number: int) -> Method:
        """The prior whose map is draw ``number``, from 0."""

    def map_on(self, space: Sequence[int], seed: int, draw: int) -> Tensor:
        """The map (*space) of a draw: the same for every image."""

    def peaks(self, space: Sequence[int]) -> Tensor:
        """The positions (N, axes) int64 at which the peak of a random map is equally often."""


@runtime_checkable
class FromMasks(Protocol):
    """A prior that is made from masks: by its name, ``evaluate`` makes each image's map from those of the others."""

    @classmethod
    def of_others(cls, masks: Masks, space: Sequence[int]) -> Tensor:
        """The maps (B, *space) in [0, 1] of the images whose masks these are.

        Raises:
            OptionError: there are too few others.
        """
