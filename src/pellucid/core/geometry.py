"""Maps pixel positions between the original image and the network's input: resize, crop, pad, turned axes, new spacing.

Every step is affine, so any chain of steps is one matrix and one offset, and can be inverted. With pixel centres at
half integers (``align_corners=False``), a source position ``x`` (in pixels, 0 at the outer edge of the first one)
becomes ``matrix · x + offset`` in the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.default_device import on_cpu_by_default
from pellucid.errors import ShapeError

Matrix = tuple[tuple[float, ...], ...]
_ROUNDING = 1e-6
"""Share of the target by which a pixel centre on its edge may seem to be outside."""
_AT_ONCE = 2**22
"""The most positions that are sampled at once: the coordinates of a whole volume would take more memory than it."""


@dataclass(frozen=True)
class Geometry:
    """The map from a source grid to a target grid; spatial sizes are (H, W) or (D, H, W).

    ``matrix`` has a row for each axis of the target and a column for each axis of the source.
    """

    source: tuple[int, ...]
    target: tuple[int, ...]
    matrix: Matrix
    offset: tuple[float, ...]

    @classmethod
    def identity(cls, size: Sequence[int]) -> Geometry:
        """The geometry of an image that was not changed."""
        return cls(tuple(size), tuple(size), _diagonal([1.0] * len(size)), (0.0,) * len(size))

    def then(self, matrix: Matrix, offset: Sequence[float], size: Sequence[int]) -> Geometry:
        """The geometry after target positions ``x`` become ``matrix · x + offset``, on a grid of ``size``."""
        columns = [tuple(_times(matrix, column)) for column in zip(*self.matrix, strict=True)]
        moved = [one + add for one, add in zip(_times(matrix, self.offset), offset, strict=True)]
        return Geometry(self.source, tuple(size), tuple(zip(*columns, strict=True)), tuple(moved))

    def resize(self, size: Sequence[int]) -> Geometry:
        """The geometry after the whole target grid is resized to ``size``."""
        factors = [new / old for new, old in zip(size, self.target, strict=True)]
        return self.then(_diagonal(factors), [0.0] * len(factors), size)

    def turn(self, axes: Sequence[int], mirrored: Sequence[bool]) -> Geometry:
        """The geometry after the target's axes are put in the order ``axes``, then those ``mirrored`` are reversed."""
        size = [self.target[axis] for axis in axes]
        signs = [-1.0 if turned else 1.0 for turned in mirrored]
        rows = [tuple(sign * (axis == own) for own in range(len(axes))) for axis, sign in zip(axes, signs, strict=True)]
        return self.then(tuple(rows), [side * turned for side, turned in zip(size, mirrored, strict=True)], size)

    def crop(self, start: Sequence[int], size: Sequence[int]) -> Geometry:
        """The geometry after ``size`` pixels are cut out at ``start``; beyond the edges, the target is padded."""
        offset = tuple(o - s for o, s in zip(self.offset, start, strict=True))
        return Geometry(self.source, tuple(size), self.matrix, offset)

    def centre_crop(self, size: Sequence[int]) -> Geometry:
        """The geometry after a centre crop of ``size``, padded where the target is smaller, as torchvision does."""
        start = [
            -((new - old) // 2) if new > old else round((old - new) / 2)
            for old, new in zip(self.target, size, strict=True)
        ]
        return self.crop(start, size)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Geometry:
        """The geometry after ``before`` and ``after`` pixels are added around the target."""
        size = [b + t + a for b, t, a in zip(before, self.target, after, strict=True)]
        return self.crop([-b for b in before], size)

    def point(self, position: Sequence[float]) -> tuple[float, ...]:
        """The target position of a source position."""
        return tuple(one + o for one, o in zip(_times(self.matrix, position), self.offset, strict=True))

    @on_cpu_by_default
    def source_point(self, position: Sequence[float]) -> tuple[float, ...]:
        """The source position of a target position: the inverse of ``point``."""
        moved = torch.tensor([x - o for x, o in zip(position, self.offset, strict=True)], dtype=torch.float64)
        return tuple(torch.linalg.solve(torch.tensor(self.matrix, dtype=torch.float64), moved).tolist())

    @on_cpu_by_default
    def inverse(self) -> Geometry:
        """The map from the target grid to the source grid."""
        matrix = torch.linalg.inv(torch.tensor(self.matrix, dtype=torch.float64)).tolist()
        rows = tuple(tuple(row) for row in matrix)
        return Geometry(self.target, self.source, rows, tuple(-value for value in _times(rows, self.offset)))

    @on_cpu_by_default
    def restore(self, maps: Tensor) -> Tensor:
        """Resample maps (B, K, *target) to the source grid, (B, K, *source), by linear interpolation.

        Pixels that were cropped away never reached the network, and become 0.

        Raises:
            ShapeError: the maps are not on the target grid.
        """
        if tuple(maps.shape[2:]) != self.target:
            expected = " × ".join(map(str, self.target))
            raise ShapeError(f"maps on a grid of {expected} were expected, got {tuple(maps.shape)}")
        if self == Geometry.identity(self.source):
            return maps
        return self.sample(maps) * self.inside().to(maps.device)

    @on_cpu_by_default
    def sample(self, maps: Tensor) -> Tensor:
        """As ``restore``, but pixels beyond the target have the value of the closest one within."""
        places = [self._axis(i, maps) for i in range(len(self.target))]
        rows = max(1, _AT_ONCE // math.prod(self.source[1:]))
        slabs = [
            _sampled(maps, [place[start : start + rows] if len(place) > 1 else place for place in places], count)
            for start in range(0, self.source[0], rows)
            for count in [(min(rows, self.source[0] - start), *self.source[1:])]
        ]
        sampled = torch.cat(slabs, dim=2) if len(slabs) > 1 else slabs[0]
        # Interpolated values lie between those of the map; rounding would put some beyond, such as above 1.
        axes = tuple(range(2, maps.ndim))
        return sampled.clamp(maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True))

    @on_cpu_by_default
    def inside(self) -> Tensor:
        """Which source pixels are within the target, (*source) bool; the others were cropped away."""
        like = torch.zeros((), dtype=torch.float64)
        axes = [self._axis(i, like).abs() <= 1 + _ROUNDING for i in range(len(self.target))]
        return reduce(torch.logical_and, axes).expand(self.source)

    def _axis(self, i: int, like: Tensor) -> Tensor:
        """The source's pixel centres on the target's axis ``i``, in grid_sample's coordinates there (−1 … 1).

        Its shape is that of the source, with 1 for axes on which they do not depend.
        """
        place = torch.full((1,) * len(self.source), self.offset[i], dtype=like.dtype, device=like.device)
        for axis, factor in enumerate(self.matrix[i]):
            if factor:
                centres = torch.arange(self.source[axis], dtype=like.dtype, device=like.device) + 0.5
                place = place + factor * centres.view([-1 if own == axis else 1 for own in range(len(self.source))])
        return place * (2 / self.target[i]) - 1


def _sampled(maps: Tensor, places: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Maps at coordinates of each axis, which are broadcast to ``size``."""
    grid = torch.stack([place.expand(*size) for place in places][::-1], dim=-1)
    grid = grid.expand(maps.shape[0], *grid.shape)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _diagonal(values: Sequence[float]) -> Matrix:
    return tuple(tuple(value * (row == column) for column in range(len(values))) for row, value in enumerate(values))


def _times(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    """The product of a matrix and a vector; terms that are 0 are left out, which keeps other values exact."""
    return [sum((a * x for a, x in zip(row, vector, strict=True) if a), 0.0) for row in matrix]
