"""Where a finding is, as data sets state it: boxes, run lengths, polygons, or several outlines as one.

A mask in a file of its own is ``pellucid.evaluation.data.mask_file.MaskFile``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pellucid.core import rle
from pellucid.core.image import Image
from pellucid.core.masks import masks_of
from pellucid.errors import DataError, OptionError, ShapeError, message_of
from pellucid.evaluation.case import Outline
from pellucid.evaluation.data.polygons import Point, filled

OTHER_SIZE = "its outline is stated for an image of another size"
BEYOND = "its outline reaches beyond the image"
NO_PIXEL = "its outline holds the centre of no pixel"
BROKEN_RUNS = "its run lengths do not fit the image"
NO_BOX = "its box is none: (x0, y0, x1, y1) with x0 < x1 and y0 < y1 is one"
NOT_PLANE = "its outline is of a 2-D image"
_MARGIN = 0.02
"""An outline may reach beyond the image by this share of its side: annotation tools round."""
_LEAST_MARGIN = 2.0
"""Pixels by which it always may."""


@dataclass(frozen=True)
class Boxes:
    """Boxes (x0, y0, x1, y1) in pixels, of a volume (x0, y0, z0, x1, y1, z1); together they are one outline.

    A box holds the pixels whose centres lie in it: the pixel in column c and row r has its centre at (c + .5, r + .5).
    ``size`` is the size (H, W) of the image that they are stated for; None: they are stated for any.

    >>> from pellucid.core.geometry import Geometry
    >>> image = Image(torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), Geometry.identity((2, 4)))
    >>> Boxes(((2, 1, 4, 2),)).mask(image).int()
    tensor([[0, 0, 0, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """

    boxes: tuple[tuple[float, ...], ...]
    size: tuple[int, ...] | None = None

    def mask(self, image: Image) -> Tensor:
        """The pixels of all boxes.

        Raises:
            DataError: a box is none, or reaches beyond the image, or holds no pixel; or the image has another size.
        """
        check_size(self.size, image.size)
        for box in self.boxes:
            _check_box(box, image.size)
        try:
            return masks_of([{"boxes": self.boxes}], 1, 1, image.size)[0][0, 0]
        except OptionError as error:
            raise DataError(NO_PIXEL, message_of(error)) from None


@dataclass(frozen=True)
class Polygons:
    """Polygons of corners (x, y) in pixels; together they are one outline. ``size`` is as for ``Boxes``.

    A polygon holds the pixels whose centres lie in it (``pellucid.evaluation.data.polygons.filled``).
    """

    polygons: tuple[tuple[Point, ...], ...]
    size: tuple[int, ...] | None = None

    def mask(self, image: Image) -> Tensor:
        """The pixels of all polygons.

        Raises:
            DataError: a polygon is none, or reaches beyond the image, or none holds a pixel; or the image has another
                size, or is a volume.
        """
        check_size(self.size, image.size)
        height, width = plane(image)
        found = np.zeros((height, width), dtype=bool)
        for polygon in self.polygons:
            found |= filled(polygon, height, width)
            xs, ys = zip(*polygon, strict=True)
            _check_within((min(xs), min(ys), max(xs), max(ys)), image.size)
        return _any(torch.from_numpy(found))


@dataclass(frozen=True)
class RunLengths:
    """COCO's run-length encoding: ``counts`` are runs of 0 and 1 in turn, column after column, or COCO's text of them.

    ``size`` is as for ``Boxes``.
    """

    counts: str | tuple[int, ...]
    size: tuple[int, ...] | None = None

    def mask(self, image: Image) -> Tensor:
        """The pixels of the runs; none where all runs of 1 are empty.

        Raises:
            DataError: the runs do not add up to the image; or it has another size, or is a volume.
        """
        check_size(self.size, image.size)
        size = plane(image)
        try:
            return rle.decoded({"size": list(size), "counts": self.counts}, size)
        except (OptionError, ShapeError) as error:
            raise DataError(BROKEN_RUNS, message_of(error)) from None


@dataclass(frozen=True)
class StartLengths:
    """Kaggle's run-length encoding: a first pixel and a number of pixels in turn.

    Pixels are counted from 1, down the first column, then down the second. ``size`` is as for ``Boxes``.
    """

    numbers: tuple[int, ...]
    size: tuple[int, ...] | None = None

    def mask(self, image: Image) -> Tensor:
        """The pixels of the runs.

        Raises:
            DataError: a run is empty or lies outside the image; or it has another size, or is a volume.
        """
        check_size(self.size, image.size)
        height, width = plane(image)
        if len(self.numbers) % 2 or any(not 0 < number <= height * width for number in self.numbers):
            raise DataError(BROKEN_RUNS, "pairs of a first pixel, from 1, and a number of pixels were expected")
        steps = np.zeros(height * width + 1, dtype=np.int32)
        for start, length in zip(self.numbers[::2], self.numbers[1::2], strict=True):
            if start - 1 + length > height * width:
                raise DataError(BROKEN_RUNS, f"{length} pixels from {start} end behind the last one")
            steps[start - 1] += 1
            steps[start - 1 + length] -= 1
        flags = np.cumsum(steps[:-1]) > 0
        return torch.from_numpy(np.ascontiguousarray(flags.reshape(width, height).T))


@dataclass(frozen=True)
class United:
    """Several outlines as one: the pixels that belong to any of them."""

    outlines: tuple[Outline, ...]

    def mask(self, image: Image) -> Tensor:
        """The pixels of all outlines. ``DataError``: one of them has no mask."""
        found = torch.zeros(image.size, dtype=torch.bool)
        for outline in self.outlines:
            found |= outline.mask(image)
        return found


def united(outlines: Sequence[Outline]) -> Outline:
    """Several outlines as one; equal ones once.

    >>> united([Boxes(((0, 0, 1, 1),)), Boxes(((0, 0, 1, 1),))])
    Boxes(boxes=((0, 0, 1, 1),), size=None)
    """
    different = tuple(dict.fromkeys(outlines))
    return different[0] if len(different) == 1 else United(different)


def check_size(stated: tuple[int, ...] | None, size: tuple[int, ...]) -> None:
    """Raise ``DataError`` unless an image has the size that an outline is stated for."""
    if stated is not None and tuple(stated) != tuple(size):
        raise DataError(OTHER_SIZE, f"{shown(stated)}; the image has {shown(size)}")


def plane(image: Image) -> tuple[int, int]:
    """The size (H, W) of an image. ``DataError``: it is a volume."""
    if len(image.size) != 2:
        raise DataError(NOT_PLANE, f"the image has {shown(image.size)}")
    return image.size[0], image.size[1]


def shown(size: Sequence[int]) -> str:
    """A size in words: "480 × 640"."""
    return " × ".join(map(str, size))


def _check_box(box: tuple[float, ...], size: tuple[int, ...]) -> None:
    axes = len(size)
    ends = zip(box[:axes], box[axes:], strict=False)
    if len(box) != 2 * axes or not all(low < high for low, high in ends):
        raise DataError(NO_BOX, _text(box))
    _check_within(box, size)


def _check_within(box: tuple[float, ...], size: tuple[int, ...]) -> None:
    """Raise unless a box lies within the image, but for a margin.

    What reaches farther is stated for an image of another size, such as the one that this one was made from.
    """
    axes = len(size)
    for low, high, side in zip(box[:axes], box[axes:], size[::-1], strict=True):
        margin = max(_LEAST_MARGIN, _MARGIN * side)
        if low < -margin or high > side + margin:
            raise DataError(BEYOND, f"{_text(box)} in an image of {shown(size)}")


def _text(box: Sequence[float]) -> str:
    return f"({', '.join(f'{one:g}' for one in box[:6])}{', …' if len(box) > 6 else ''})"


def _any(found: Tensor) -> Tensor:
    if not bool(found.any()):
        raise DataError(NO_PIXEL)
    return found
