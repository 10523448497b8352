"""Masks in files of their own: images whose bright pixels belong to a finding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pellucid import io
from pellucid.core.image import Image
from pellucid.errors import DataError, PellucidError, message_of
from pellucid.evaluation.data.outlines import shown

_MOST_LABELS = 32
"""Levels up to this one number the labels of a label map; in other masks the highest is far above."""
_WHOLE = (8, 12, 16)
"""Bits of levels that are whole numbers; of 32 bits they are shares already, and of 1 they are 0 and 1."""
_LOSSY = ("JPEG", "WEBP")
_WHITE = 255
_TOLERANCE = 0.01
"""Millimetres by which the affine maps of an image and of its mask may differ: files round."""


@dataclass(frozen=True)
class MaskFile:
    """An image file (PNG, JPEG, TIFF, BMP, DICOM or NIfTI) of the image's size: a finding is where it is bright.

    A pixel belongs to the finding if it is at least half as bright as the brightest one: of two levels, 0 and 1 or 0
    and 255, that is the higher one; edges that are grey, as drawing programs leave them, are cut at the half. Of a
    JPEG the half of white counts, since its black is not quite black. Of colours the brightest channel counts, so that
    a mask may be red. A label map has several findings: state which by its ``level``, such as 2.
    """

    path: Path
    level: int | None = None

    def mask(self, image: Image) -> Tensor:
        """The pixels that are bright, or have the level; none of a mask that is black.

        Raises:
            DataError: it is missing or cannot be read, or has another size than the image or lies elsewhere, or it is
                a label map and no level is stated.
        """
        try:
            found = io.read(self.path)
        except PellucidError as error:
            raise DataError("its mask cannot be read", message_of(error)) from None
        if found.size != image.size:
            raise DataError(
                "its mask has another size than the image", f"{shown(found.size)}; the image has {shown(image.size)}"
            )
        check_position(found, image)
        return _bright(found) if self.level is None else (levels_of(found) - self.level).abs() < 0.5


def check_position(mask: Image, image: Image) -> None:
    """Raise if both files state where their voxels are, and not the same."""
    if mask.affine is not None and image.affine is not None:
        difference = float((mask.affine.double() - image.affine.double()).abs().max())
        if difference > _TOLERANCE:
            raise DataError("its mask lies elsewhere than the image", f"the affine maps differ by {difference:.3g}")


def _bright(mask: Image) -> Tensor:
    levels = levels_of(mask)
    top = float(levels.max())
    if not top > 0:
        return torch.zeros(levels.shape, dtype=torch.bool)
    if mask.provenance.get("format") in _LOSSY:
        return levels >= _WHITE / 2
    if 1 < top <= _MOST_LABELS and bool(((levels > 0) & (levels < top)).any()):
        raise DataError("its mask is a label map of several findings", f"levels up to {top:g}")
    return levels >= top / 2


def levels_of(mask: Image) -> Tensor:
    """The levels (*space) as the file holds them; NaN is 0. Photographs are read as shares of white."""
    values: Tensor = torch.nan_to_num(mask.values.amax(0), nan=0.0)
    if mask.values is not mask.pixels:  # DICOM and NIfTI
        return values
    if mask.provenance["stretched"] is not None:
        low, high = map(float, mask.provenance["stretched"])
        return values * (high - low) + low
    bits = int(mask.provenance["bits"])
    if bits not in _WHOLE:
        return values
    levels: Tensor = values * ((1 << bits) - 1)
    return levels.round()
