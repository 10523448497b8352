"""A picture as it was read, or as it was prepared for a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pellucid.core.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Instance:
    """A DICOM object that a picture, or a slice of a volume, comes from; ``frame`` is its number in the object, from 1.

    ``header`` is a pydicom ``Dataset``: its attributes without the pixels, those of the frame at its root. It names the
    patient: nothing of it goes anywhere but into DICOM objects.
    """

    header: Any = field(repr=False)
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """One picture or volume.

    ``pixels`` (C, *space) float32 in [0, 1], ready to show (windowed, not inverted; C is 1 or 3).
    ``values`` (C, *space) float32: after the modality LUT (Hounsfield units for CT), or the pixels
    themselves for a photograph; of a prepared image, what the network is given (without the batch axis).
    ``geometry`` maps the picture as it was read to this one. ``original`` is the picture as it was read.
    ``provenance`` says how it came about, in plain values that JSON can hold, and never who the patient is.

    Of a picture as it was read: ``spacing`` between pixels in mm, in the order of the axes, where the file states it
    of the patient's plane; ``affine`` (4, 4) from (column, row, slice) to the patient's coordinates in mm, in NIfTI's
    orientation (right, anterior, superior); ``digest``, the file's SHA-256; ``instances``, a DICOM object a slice.
    """

    pixels: Tensor
    values: Tensor
    geometry: Geometry
    provenance: Mapping[str, Any] = field(default_factory=dict)
    source: Image | None = None
    spacing: tuple[float, ...] | None = None
    affine: Tensor | None = None
    digest: str | None = None
    instances: tuple[Instance, ...] = ()

    @property
    def original(self) -> Image:
        """The picture as it was read: itself, where nothing was done to it."""
        return self.source if self.source is not None else self

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size: (H, W) or (D, H, W)."""
        return tuple(self.pixels.shape[1:])
