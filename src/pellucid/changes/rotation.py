"""Rotation: the image is turned about its centre, and its map is turned back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.changes._sampling import sampled, turned, within
from pellucid.core.change import Change, register_change
from pellucid.core.default_device import on_cpu_by_default


@register_change("rotation")
@dataclass(frozen=True)
class Rotation(Change):
    """A rotation by ``strength`` degrees counterclockwise, in the plane of the last two axes.

    Values are linear between pixels; beyond the edge they are those of the edge. Maps are turned back in the same way,
    so that a map which turns with its image comes back but for what interpolation blurs. Corners that leave the image
    are not compared.
    """

    unit: ClassVar[str] = "degrees"
    levels: ClassVar[tuple[float, ...]] = (2.0, 5.0, 10.0, 20.0)
    strongest: ClassVar[float] = 180.0

    strength: float = 10.0

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels that are turned."""
        return sampled(pixels, turned(pixels.ndim - 2, -self.strength))

    def restored(self, maps: Tensor) -> Tensor:
        """Maps that are turned back."""
        return sampled(maps[:, None], turned(maps.ndim - 1, self.strength))[:, 0]

    @on_cpu_by_default
    def visible(self, space: Sequence[int]) -> Tensor:
        """All but the corners that leave the image."""
        return within(space, turned(len(space), self.strength))
