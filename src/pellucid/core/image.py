"""An image or volume with its origin: as it was read from a file, or as it was prepared for a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from pellucid.core.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Instance:
    """The DICOM object that an image, or one slice of a volume, was read from.

    ``header`` is a pydicom ``Dataset``: the attributes without the pixels, those of the frame at its root. It names the
    patient, so only DICOM results may contain any of it. ``frame`` is the number of the frame in a multi-frame object,
    from 1.
    """

    header: Any = field(repr=False)
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """One image (*space is (H, W)) or volume (*space is (D, H, W)).

    ``pixels`` (C, *space) float32 in [0, 1] are ready for display (windowed, not inverted; C is 1 or 3).
    ``values`` (C, *space) float32 are the values after the modality LUT (Hounsfield units for CT), or the pixels
    themselves for a photograph; of a prepared image, the network's input without the batch axis.
    ``geometry`` maps the original image to this one; ``source`` is the original image, None if this is it.
    ``provenance`` records how the image was read and prepared, in values that JSON can hold, without patient data.

    Only of an original image: ``spacing`` between pixels in mm, in the order of the axes, where the file states it
    for the patient's plane; ``affine`` (4, 4) from (column, row, slice) to the patient's coordinates in mm, in NIfTI's
    orientation (right, anterior, superior); ``digest``, the SHA-256 of the file; ``instances``, one DICOM object per
    slice.
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
        """The image as it was read; the image itself if it was not prepared."""
        return self.source if self.source is not None else self

    def without_headers(self) -> Image:
        """The same image without the DICOM objects that it was read from, which name the patient."""
        source = None if self.source is None else self.source.without_headers()
        return replace(self, source=source, instances=())

    def __repr__(self) -> str:
        """One line, without the pixels, and without anything of the file but its size."""
        size = "×".join(map(str, self.values.shape))
        if self.source is None:
            return f"Image({size})"
        return f"Image({size}, prepared from {'×'.join(map(str, self.source.pixels.shape))})"

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial size: (H, W) or (D, H, W)."""
        return tuple(self.pixels.shape[1:])
