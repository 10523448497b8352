"""Draws the heatmap of a volume on its slices: three orthogonal ones through the peak, or a montage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from pellucid.core.image import Image
from pellucid.core.style import Style
from pellucid.render.annotation import drawn_on
from pellucid.render.text import font

_GAP = 4
_BACKGROUND = (0, 0, 0)
_LINE = (255, 255, 255)
_MAX_SLICES = 20
"""Maximum number of slices in a montage."""
_SIDE = 220
"""Length in pixels of the longer side of a slice in a montage."""
_VIEW = 360
"""Length in pixels of the longer side of an orthogonal view."""


@dataclass(frozen=True)
class Drawing:
    """A volume (C, D, H, W) in [0, 1] and its map (D, H, W), and how they are drawn.

    ``heat`` is in [0, 1], or in [−1, 1] for a signed style; of a map that shows nothing it is zero everywhere.
    ``inside`` (D, H, W) bool: pixels that were not cropped away. ``spacing`` is between slices, rows and columns;
    ``flipped``: axes that are mirrored, so that the view follows the radiological convention.
    """

    pixels: Tensor
    heat: Tensor
    inside: Tensor
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    flipped: tuple[bool, ...] = (False, False, False)
    style: Style = Style()  # noqa: RUF009  # styles are frozen

    @cached_property
    def peak(self) -> tuple[int, ...] | None:
        """The indices of the strongest evidence, for or against; None of a map that shows nothing."""
        strength = self.heat.abs()
        return tuple(map(int, torch.unravel_index(strength.argmax(), strength.shape))) if strength.any() else None

    def plane(self, axis: int, index: int, side: int) -> Pillow.Image:
        """The slice at an index of an axis, with square pixels; ``side`` is the length of its longer side."""
        pixels, heat = self.pixels.select(axis + 1, index), self.heat.select(axis, index)
        inside = self.inside.select(axis, index)
        drawn = drawn_on(pixels, heat, self.style, inside, empty=self.peak is None)
        down, across = (one for one in range(3) if one != axis)
        lengths = [heat.shape[i] * self.spacing[one] for i, one in enumerate((down, across))]
        height, width = (max(1, round(side * length / max(lengths))) for length in lengths)
        drawn = drawn.resize((width, height), Pillow.Resampling.BILINEAR)
        for axis_, turn in ((down, Pillow.Transpose.FLIP_TOP_BOTTOM), (across, Pillow.Transpose.FLIP_LEFT_RIGHT)):
            drawn = drawn.transpose(turn) if self.flipped[axis_] else drawn
        return drawn


def drawing(image: Image, heat: Tensor, style: Style) -> Drawing:
    """A prepared volume and its map (D, H, W) on the grid of the original volume, ready to be drawn."""
    original = image.original
    plain = Drawing(original.pixels, heat, image.geometry.inside(), style=style)
    if original.spacing is not None:
        plain = replace(plain, spacing=original.spacing)
    return plain if original.affine is None else replace(plain, flipped=_flipped(original.affine))


def _flipped(affine: Tensor) -> tuple[bool, ...]:
    """Which axes (slice, row, column) are mirrored, so that right is on the left, and front and head are at the top."""
    steps = [affine[:3, column] for column in (2, 1, 0)]
    return tuple(float(step[int(step.abs().argmax())]) > 0 for step in steps)


def orthogonal(volume: Drawing) -> Pillow.Image:
    """Three orthogonal slices through the peak, side by side; lines mark where the other two are.

    Of a map that shows nothing, the middle slices without lines.
    """
    size = volume.heat.shape
    through = volume.peak or tuple(length // 2 for length in size)
    views = [volume.plane(axis, through[axis], _VIEW) for axis in range(3)]
    if volume.peak is not None:
        for axis, view in enumerate(views):
            _draw_crosshair(view, volume, axis, through)
    names = ("slice", "row", "column")
    lines = [f"{names[axis]} {through[axis] + 1} of {size[axis]}" for axis in range(3)]
    return _tiled(views, lines, 3)


def montage(volume: Drawing) -> Pillow.Image:
    """Up to 20 slices at equal distances, each with its number."""
    count = volume.heat.shape[0]
    shown = min(count, _MAX_SLICES)
    indices = [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]
    columns = math.ceil(math.sqrt(shown * 1.25))
    views = [volume.plane(0, index, _SIDE) for index in indices]
    return _tiled(views, [f"{index + 1} of {count}" for index in indices], columns)


def _draw_crosshair(view: Pillow.Image, volume: Drawing, axis: int, peak: Sequence[int]) -> None:
    """Draw lines towards the peak on the slice through it."""
    down, across = (one for one in range(3) if one != axis)
    share = [
        1 - (peak[one] + 0.5) / volume.heat.shape[one]
        if volume.flipped[one]
        else (peak[one] + 0.5) / volume.heat.shape[one]
        for one in (down, across)
    ]
    draw = ImageDraw.Draw(view)
    y, x = round(share[0] * view.height - 0.5), round(share[1] * view.width - 0.5)
    reach = max(4, _VIEW // 24)  # lines through the peak itself would hide it
    for line in (
        (0, y, x - reach, y),
        (x + reach, y, view.width, y),
        (x, 0, x, y - reach),
        (x, y + reach, x, view.height),
    ):
        if line[2] > line[0] or line[3] > line[1]:
            draw.line(line, fill=_LINE)


def _tiled(views: Sequence[Pillow.Image], lines: Sequence[str], columns: int) -> Pillow.Image:
    """Images in rows on black, each with a line of text below it."""
    text = 20
    width, height = max(view.width for view in views), max(view.height for view in views)
    rows = math.ceil(len(views) / columns)
    canvas = Pillow.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + text)), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for index, (view, line) in enumerate(zip(views, lines, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (width + _GAP), row * (height + text)
        canvas.paste(view, (left + (width - view.width) // 2, top + (height - view.height) // 2))
        draw.text((left + width // 2, top + height + text // 2), line, fill=_LINE, font=font(13), anchor="mm")
    return canvas
