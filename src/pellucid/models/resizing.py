"""Resizing and cropping pixels, and the geometry that leads back to the file."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from pellucid.core.geometry import Geometry
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import ShapeError

Interpolation = Literal["bilinear", "bicubic", "nearest"]


def resized(
    pixels: Tensor, geometry: Geometry, resize: int | tuple[int, ...] | None, interpolation: Interpolation
) -> tuple[Tensor, Geometry]:
    """Resize (C, *space) with antialiasing: the shortest side to ``resize``, or all sides; None leaves them.

    ``ShapeError``: the result would be too large.
    """
    size = _size(resize, tuple(pixels.shape[1:]))
    if size == tuple(pixels.shape[1:]):
        return pixels, geometry
    if math.prod(size) > MAX_PIXELS:
        given, made = (" × ".join(map(str, each)) for each in (pixels.shape[1:], size))
        raise ShapeError(f"{given} pixels would be resized to {made}; at most {MAX_PIXELS:,} are allowed: crop them")
    if interpolation == "nearest":
        return F.interpolate(pixels[None], size, mode="nearest")[0], geometry.resize(size)
    return _interpolated(pixels, size, interpolation).clamp(0, 1), geometry.resize(size)


def _interpolated(pixels: Tensor, size: tuple[int, ...], interpolation: Interpolation) -> Tensor:
    """Interpolate with antialiasing; first within the slices of a volume, then across them."""
    slices = pixels if pixels.ndim == 4 else pixels[None]
    made = F.interpolate(slices, size[-2:], mode=interpolation, align_corners=False, antialias=True)
    if pixels.ndim == 3:
        return made[0]
    flat = made.flatten(2)[:, None]  # (C, 1, D, H · W)
    through = (size[0], flat.shape[-1])
    across = F.interpolate(flat, through, mode=interpolation, align_corners=False, antialias=True)
    return across.reshape(len(pixels), *size)


def cropped(pixels: Tensor, geometry: Geometry, crop: tuple[int, ...] | None) -> tuple[Tensor, Geometry]:
    """Crop the centre of (C, *space), or add zeros around, as torchvision does; None leaves all of it."""
    size = (*pixels.shape[1:-2], *crop)[-pixels.ndim + 1 :] if crop is not None else pixels.shape[1:]
    if tuple(size) == tuple(pixels.shape[1:]):
        return pixels, geometry
    pairs = list(zip(pixels.shape[1:], size, strict=True))
    start = [_start(old, new) for old, new in pairs]
    after = [new - old + first for (old, new), first in zip(pairs, start, strict=True)]
    # From the last axis to the first; a negative pad crops.
    pads = [pad for before, behind in zip(start[::-1], after[::-1], strict=True) for pad in (-before, behind)]
    return F.pad(pixels, pads), geometry.crop(start, size)


def _start(old: int, new: int) -> int:
    """The start of torchvision's centre crop; negative if it pads."""
    return -((new - old) // 2) if new > old else round((old - new) / 2)


def _size(resize: int | tuple[int, ...] | None, size: tuple[int, ...]) -> tuple[int, ...]:
    """The size after resizing; the longer side is rounded down, as torchvision does.

    For volumes, settings for images leave the number of slices unchanged.
    """
    if resize is None:
        return size
    if not isinstance(resize, int):
        return (*size[: len(size) - len(resize)], *resize)
    short, long = min(size[-2:]), max(size[-2:])
    longer = int(resize * long / short)
    return (*size[:-2], *((resize, longer) if size[-2] <= size[-1] else (longer, resize)))
