"""A picture as it was read, or as it was prepared for a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pellucid.core.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Image:
    """One picture or volume.

    ``pixels`` (C, *space) float32 in [0, 1], ready to show (windowed, not inverted; C is 1 or 3).
    ``values`` (C, *space) float32: after the modality LUT (Hounsfield units for CT), or the pixels
    themselves for a photograph; of a prepared image, what the network is given (without the batch axis).
    ``geometry`` maps the picture as it was read to this one. ``original`` is the picture as it was read.
    ``provenance`` says how it came about, in plain values that JSON can hold, and never who the patient is.
    """

    pixels: Tensor
    values: Tensor
    geometry: Geometry
    provenance: Mapping[str, Any] = field(default_factory=dict)
    source: Image | None = None

    @property
    def original(self) -> Image:
        """The picture as it was read: itself, where nothing was done to it."""
        return self.source if self.source is not None else self

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size: (H, W) or (D, H, W)."""
        return tuple(self.pixels.shape[1:])
