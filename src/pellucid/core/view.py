"""What a network's first local layer sees of an image: a frame, and where the frame's positions lie in the image.

A network may crop, pad, resize, mirror, roll or transpose the image before it looks at it. Along each of its axes the
frame then follows one axis of the image in one or two affine pieces: a roll has two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.space import upsample


@dataclass(frozen=True)
class FrameAxis:
    """An axis of a frame: the image's axis that it follows, and pieces (scale, offset).

    The image's position x, in pixels from the outer edge of the first one, is at ``scale · x + offset`` in the frame,
    in the first of the pieces in which that lies within the frame.
    """

    follows: int
    pieces: tuple[tuple[float, float], ...]

    def positions(self, side: int, frame: int) -> Tensor:
        """The positions of ``side`` pixel centres of the image in a frame of length ``frame``; NaN outside it."""
        centres = torch.arange(side, dtype=torch.float64) + 0.5
        found = torch.full_like(centres, torch.nan)
        for scale, offset in self.pieces:
            place = scale * centres + offset
            found = torch.where(found.isnan() & (place > 0) & (place < frame), place, found)
        return found

    def text(self, frame: int) -> str:
        """The pixels of the image that the axis shows, such as "axis 0 from 64 to 192"; mirrored from 192 to 64."""
        ends = [[(place - offset) / scale for place in (0, frame)] for scale, offset in self.pieces]
        parts = [f"from {start:.4g} to {stop:.4g}" for start, stop in ends]
        return f"axis {self.follows} {' or '.join(parts)}"


@dataclass(frozen=True)
class View:
    """A frame of the image: its size, and the axes of the image that its axes follow.

    A view without axes is the image as a whole, stretched over the frame. A view of one slice of a volume, or of one
    member of a sequence, has its number, and the image's axis along which these are counted.
    """

    frame: tuple[int, ...] = ()
    axes: tuple[FrameAxis, ...] = ()
    member: int | None = None
    along: int = 0

    def __str__(self) -> str:
        member = "" if self.member is None else f"image {self.member + 1} of axis {self.along}"
        axes = [axis.text(side) for axis, side in zip(self.axes, self.frame, strict=True)]
        return "; ".join(part for part in (member, *axes) if part) or "the whole image"

    def drawn(self, maps: Tensor, space: Sequence[int]) -> Tensor:
        """Maps (B, K, *grid) of this view on the image, (B, K, *space); 0 where the view does not reach."""
        if self.member is None:
            return self._on(maps, space)
        large = self._on(maps, [side for axis, side in enumerate(space) if axis != self.along])
        canvas = large.new_zeros(*large.shape[:2], *space)
        canvas.select(2 + self.along, self.member).copy_(large)
        return canvas

    def _on(self, maps: Tensor, space: Sequence[int]) -> Tensor:
        if not self.axes:
            return upsample(maps, space)
        frame = upsample(maps, self.frame)
        places = [
            axis.positions(space[axis.follows], side).view(
                [-1 if own == axis.follows else 1 for own in range(len(space))]
            )
            for axis, side in zip(self.axes, self.frame, strict=True)
        ]
        mesh = [place.expand(*space) for place in places]
        seen = torch.stack([place.isfinite() for place in mesh]).all(dim=0)
        # grid_sample's coordinates, in which the frame reaches from -1 to 1; in double, so that mirrored is mirrored.
        scaled = [2 * place.nan_to_num() / side - 1 for place, side in zip(mesh, self.frame, strict=True)]
        grid = torch.stack(scaled[::-1], dim=-1).to(maps.device).expand(len(maps), *space, len(space))
        found = F.grid_sample(frame.double(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return (found * seen.to(maps.device)).to(maps.dtype)


WHOLE = View()
"""The image as a whole."""
