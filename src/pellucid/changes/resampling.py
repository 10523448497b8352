"""Resampling: the image on a coarser grid of the same size, and its map on the image's own grid again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.changes._sampling import sampled, stretched
from pellucid.core.change import Change, register_change


@register_change("resampling")
@dataclass(frozen=True)
class Resampling(Change):
    """The image on a grid whose pixels are 1 + ``strength`` times as far apart along each axis, about the centre.

    The number of pixels stays, so that the image becomes smaller, as where another spacing was assumed; around it are
    the values of its edge. Values are linear between pixels. Maps are stretched back in the same way.
    """

    unit: ClassVar[str] = "the spacing's increase, as a share"
    levels: ClassVar[tuple[float, ...]] = (0.05, 0.1, 0.2, 0.4)
    strongest: ClassVar[float] = 3.0

    strength: float = 0.2

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels on the coarser grid."""
        return sampled(pixels, stretched(pixels.ndim - 2, 1 + self.strength))

    def restored(self, maps: Tensor) -> Tensor:
        """Maps on the image's own grid."""
        return (
            sampled(maps[:, None], stretched(maps.ndim - 1, 1 / (1 + self.strength)))[:, 0] if self.strength else maps
        )
