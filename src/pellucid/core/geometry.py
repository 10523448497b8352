"""Maps pixel positions between the original image and the network's input, through resize, crop and pad.

Every step scales and shifts each axis independently, so any chain of steps is one scale and one offset per
axis, and can be inverted. With pixel centres at half integers (``align_corners=False``), a source position ``x``
(in pixels, 0 at the outer edge of the first one) becomes ``scale · x + offset`` in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import ShapeError


@dataclass(frozen=True)
class Geometry:
    """The map from a source grid to a target grid; spatial sizes are (H, W) or (D, H, W)."""

    source: tuple[int, ...]
    target: tuple[int, ...]
    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @classmethod
    def identity(cls, size: Sequence[int]) -> Geometry:
        """The geometry of an image that was not changed."""
        return cls(tuple(size), tuple(size), (1.0,) * len(size), (0.0,) * len(size))

    def resize(self, size: Sequence[int]) -> Geometry:
        """The geometry after the whole target grid is resized to ``size``."""
        factor = [new / old for new, old in zip(size, self.target, strict=True)]
        return Geometry(
            self.source,
            tuple(size),
            tuple(s * f for s, f in zip(self.scale, factor, strict=True)),
            tuple(o * f for o, f in zip(self.offset, factor, strict=True)),
        )

    def crop(self, start: Sequence[int], size: Sequence[int]) -> Geometry:
        """The geometry after ``size`` pixels are cut out at ``start``; beyond the edges, the target is padded."""
        offset = tuple(o - s for o, s in zip(self.offset, start, strict=True))
        return Geometry(self.source, tuple(size), self.scale, offset)

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
        return tuple(s * x + o for s, x, o in zip(self.scale, position, self.offset, strict=True))

    def source_point(self, position: Sequence[float]) -> tuple[float, ...]:
        """The source position of a target position: the inverse of ``point``."""
        return tuple((x - o) / s for s, x, o in zip(self.scale, position, self.offset, strict=True))

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
        mesh = self._mesh(maps)
        grid = torch.stack(mesh[::-1], dim=-1).expand(maps.shape[0], *self.source, len(self.source))
        back = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
        # Interpolated values lie between those of the map; rounding would put some beyond, such as above 1.
        axes = tuple(range(2, maps.ndim))
        back = back.clamp(maps.amin(axes, keepdim=True), maps.amax(axes, keepdim=True))
        return back * self.inside().to(maps.device)

    def inside(self) -> Tensor:
        """Which source pixels are within the target, (*source) bool; the others were cropped away."""
        axes = [self._axis(i, torch.zeros(())).abs() <= 1 for i in range(len(self.source))]
        return reduce(lambda inside, axis: inside[..., None] & axis, axes)

    def _mesh(self, like: Tensor) -> tuple[Tensor, ...]:
        axes = [self._axis(i, like) for i in range(len(self.source))]
        return torch.meshgrid(*axes, indexing="ij")

    def _axis(self, i: int, like: Tensor) -> Tensor:
        """The source's pixel centres on axis ``i``, as grid_sample's coordinates in the target (−1 … 1)."""
        centres = torch.arange(self.source[i], dtype=like.dtype, device=like.device) + 0.5
        return (centres * self.scale[i] + self.offset[i]) * (2 / self.target[i]) - 1
