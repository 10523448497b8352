"""Where a pixel of the network's input lies in the original picture: resize, crop and pad, invertible.

Every step stretches and shifts each axis on its own, so any chain of them is one scale and one offset an
axis. With pixel centres at half integers (``align_corners=False``), a source position ``x`` (in pixels,
0 at the outer edge of the first one) lies at ``scale · x + offset`` of the result.
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
        """The geometry of a picture that nothing has been done to."""
        return cls(tuple(size), tuple(size), (1.0,) * len(size), (0.0,) * len(size))

    def resize(self, size: Sequence[int]) -> Geometry:
        """Stretch the whole target grid to ``size``."""
        factor = [new / old for new, old in zip(size, self.target, strict=True)]
        return Geometry(
            self.source,
            tuple(size),
            tuple(s * f for s, f in zip(self.scale, factor, strict=True)),
            tuple(o * f for o, f in zip(self.offset, factor, strict=True)),
        )

    def crop(self, start: Sequence[int], size: Sequence[int]) -> Geometry:
        """Cut ``size`` out at ``start``. A negative start, or a size that reaches beyond, pads."""
        offset = tuple(o - s for o, s in zip(self.offset, start, strict=True))
        return Geometry(self.source, tuple(size), self.scale, offset)

    def centre_crop(self, size: Sequence[int]) -> Geometry:
        """Cut ``size`` out of the middle, padding where the target is smaller (as torchvision does)."""
        start = [
            -((new - old) // 2) if new > old else round((old - new) / 2)
            for old, new in zip(self.target, size, strict=True)
        ]
        return self.crop(start, size)

    def pad(self, before: Sequence[int], after: Sequence[int]) -> Geometry:
        """Add ``before`` and ``after`` pixels around the target."""
        size = [b + t + a for b, t, a in zip(before, self.target, after, strict=True)]
        return self.crop([-b for b in before], size)

    def point(self, position: Sequence[float]) -> tuple[float, ...]:
        """Where a source position lies in the target."""
        return tuple(s * x + o for s, x, o in zip(self.scale, position, self.offset, strict=True))

    def source_point(self, position: Sequence[float]) -> tuple[float, ...]:
        """Where a target position lies in the source: the inverse of ``point``."""
        return tuple((x - o) / s for s, x, o in zip(self.scale, position, self.offset, strict=True))

    def restore(self, maps: Tensor) -> Tensor:
        """Bring maps (B, K, *target) back onto the source grid, (B, K, *source).

        Linear between pixels. What was cropped away was never seen by the network and comes back as 0.
        """
        if tuple(maps.shape[2:]) != self.target:
            asked = " × ".join(map(str, self.target))
            raise ShapeError(f"maps on a grid of {asked} were expected, got {tuple(maps.shape)}")
        if self == Geometry.identity(self.source):
            return maps
        mesh = self._mesh(maps)
        grid = torch.stack(mesh[::-1], dim=-1).expand(maps.shape[0], *self.source, len(self.source))
        back = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return back * self.seen().to(maps.device)

    def seen(self) -> Tensor:
        """Which source pixels lie within the target, (*source) bool: the others were cropped away."""
        inside = [self._axis(i, torch.zeros(())).abs() <= 1 for i in range(len(self.source))]
        return reduce(lambda seen, axis: seen[..., None] & axis, inside)

    def _mesh(self, like: Tensor) -> tuple[Tensor, ...]:
        axes = [self._axis(i, like) for i in range(len(self.source))]
        return torch.meshgrid(*axes, indexing="ij")

    def _axis(self, i: int, like: Tensor) -> Tensor:
        """The source's pixel centres on axis ``i``, as grid_sample's coordinates in the target (−1 … 1)."""
        centres = torch.arange(self.source[i], dtype=like.dtype, device=like.device) + 0.5
        return (centres * self.scale[i] + self.offset[i]) * (2 / self.target[i]) - 1
