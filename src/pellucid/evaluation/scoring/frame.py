"""The grid on which maps are scored, that of the network's input: masks of a file's pixels become masks there."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image


def in_frame(mask: Tensor, geometry: Geometry) -> Tensor:
    """A mask (*source) bool on the grid of the network's input, (*target) bool: each pixel's nearest source pixel.

    A finding so small that it is nearest to no pixel has the one in which its centre lies. What was cropped away is
    lost, and beyond the image's edges there is nothing.

    >>> mask = torch.zeros(4, 4, dtype=torch.bool)
    >>> mask[1, 2] = True
    >>> in_frame(mask, Geometry.identity((4, 4)).resize((2, 2))).int()
    tensor([[0, 1],
            [0, 0]], dtype=torch.int32)
    """
    if geometry == Geometry.identity(geometry.source):
        return mask.clone()
    inverse = geometry.inverse()
    places = [_places(inverse, axis) for axis in range(len(geometry.source))]
    inside = torch.ones((), dtype=torch.bool)
    for place, side in zip(places, geometry.source, strict=True):
        inside = inside & (place >= 0) & (place < side)
    nearest = [place.clamp(0, side - 1) for place, side in zip(places, geometry.source, strict=True)]
    found = (mask[tuple(nearest)] & inside).expand(geometry.target).clone()
    return found if bool(found.any()) or not bool(mask.any()) else _at_centre(mask, geometry)


def _places(inverse: Geometry, axis: int) -> Tensor:
    """The source pixel along an axis that holds each target pixel's centre, in a shape that broadcasts to the target.

    ``inverse`` leads from the target to the source.
    """
    rank = len(inverse.source)
    place = torch.full((1,) * rank, inverse.offset[axis], dtype=torch.float64)
    for own, factor in enumerate(inverse.matrix[axis]):
        if factor:
            centres = torch.arange(inverse.source[own], dtype=torch.float64) + 0.5
            place = place + factor * centres.view([-1 if one == own else 1 for one in range(rank)])
    return place.floor().long()


def _at_centre(mask: Tensor, geometry: Geometry) -> Tensor:
    """A mask of the one pixel that holds the centre of a finding; empty if that is outside."""
    found = torch.zeros(geometry.target, dtype=torch.bool)
    centre = (mask.nonzero().double().mean(0) + 0.5).tolist()
    place = [math.floor(one) for one in geometry.point(centre)]
    if all(0 <= one < side for one, side in zip(place, geometry.target, strict=True)):
        found[tuple(place)] = True
    return found


def spacing_in_frame(image: Image) -> tuple[float, ...] | None:
    """The distance of neighbouring pixels of the network's input in mm, by axis; None where no spacing is known."""
    spacing = image.original.spacing
    if spacing is None:
        return None
    inverse = image.geometry.inverse().matrix
    columns = zip(*inverse, strict=True)
    return tuple(
        math.sqrt(sum((part * size) ** 2 for part, size in zip(column, spacing, strict=True))) for column in columns
    )


def packed(mask: Tensor) -> bytes:
    """A mask in a few hundred bytes, to hold those of a whole data set."""
    return zlib.compress(np.packbits(mask.numpy()).tobytes(), 1)


def unpacked(data: bytes, space: Sequence[int]) -> Tensor:
    """The mask (*space) bool that ``packed`` was given."""
    bits = np.unpackbits(np.frombuffer(zlib.decompress(data), dtype=np.uint8), count=math.prod(space))
    return torch.from_numpy(bits.astype(bool)).reshape(tuple(space))
