"""A volume's heatmap for the eye: through its peak in three directions, and slice by slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torch import Tensor

from pellucid.core.image import Image
from pellucid.render.colour import blend

_GAP = 4
_BACKGROUND = (0, 0, 0)
_LINE = (255, 255, 255)
_SHOWN = 20
"""Slices of a montage at most."""
_SIDE = 220
"""Pixels of a montage's slice, on its longer side."""
_VIEW = 360
"""Pixels of one of the three views, on its longer side."""


@dataclass(frozen=True)
class Drawing:
    """A volume (C, D, H, W) and its heatmap (D, H, W), in [0, 1], as they are to be drawn.

    ``spacing`` between slices, rows and columns; ``flipped``: axes that run against how patients are looked at.
    """

    pixels: Tensor
    heat: Tensor
    seen: Tensor
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    flipped: tuple[bool, ...] = (False, False, False)
    alpha: float = 0.5
    colormap: str = "jet"

    def plane(self, axis: int, index: int, side: int) -> Pillow.Image:
        """The slice at an index along an axis, of equal scale in both directions, its longer side so many pixels."""
        pixels, heat = self.pixels.select(axis + 1, index), self.heat.select(axis, index)
        drawn = blend(pixels, heat, self.alpha, self.colormap, self.seen.select(axis, index))
        down, across = (one for one in range(3) if one != axis)
        lengths = [heat.shape[i] * self.spacing[one] for i, one in enumerate((down, across))]
        height, width = (max(1, round(side * length / max(lengths))) for length in lengths)
        drawn = drawn.resize((width, height), Pillow.Resampling.BILINEAR)
        for axis_, turn in ((down, Pillow.Transpose.FLIP_TOP_BOTTOM), (across, Pillow.Transpose.FLIP_LEFT_RIGHT)):
            drawn = drawn.transpose(turn) if self.flipped[axis_] else drawn
        return drawn


def drawing(image: Image, heat: Tensor, alpha: float, colormap: str) -> Drawing:
    """A prepared volume's heatmap on the grid of its original, to be drawn on it."""
    original = image.original
    made = Drawing(original.pixels, heat, image.geometry.seen(), alpha=alpha, colormap=colormap)
    if original.spacing is not None:
        made = replace(made, spacing=original.spacing)
    return made if original.affine is None else replace(made, flipped=_flipped(original.affine))


def _flipped(affine: Tensor) -> tuple[bool, ...]:
    """Which axes (slice, row, column) are turned so that the patient's right, front and head are left and up."""
    steps = [affine[:3, column] for column in (2, 1, 0)]
    return tuple(float(step[int(step.abs().argmax())]) > 0 for step in steps)


def orthogonal(volume: Drawing) -> Pillow.Image:
    """Three slices through the peak, at right angles, with lines where the others cut."""
    peak = [int(place) for place in torch.unravel_index(volume.heat.argmax(), volume.heat.shape)]
    views = [_crossed(volume, axis, peak) for axis in range(3)]
    names = ("slice", "row", "column")
    lines = [f"{names[axis]} {peak[axis] + 1} of {volume.heat.shape[axis]}" for axis in range(3)]
    return _tiled(views, lines, 3)


def montage(volume: Drawing) -> Pillow.Image:
    """Slices at equal distances, all where they are few; each with its number."""
    count = volume.heat.shape[0]
    shown = min(count, _SHOWN)
    indices = [round(i * (count - 1) / max(1, shown - 1)) for i in range(shown)]
    columns = math.ceil(math.sqrt(shown * 1.25))
    views = [volume.plane(0, index, _SIDE) for index in indices]
    return _tiled(views, [f"{index + 1} of {count}" for index in indices], columns)


def _crossed(volume: Drawing, axis: int, peak: Sequence[int]) -> Pillow.Image:
    view = volume.plane(axis, peak[axis], _VIEW)
    down, across = (one for one in range(3) if one != axis)
    share = [
        1 - (peak[one] + 0.5) / volume.heat.shape[one]
        if volume.flipped[one]
        else (peak[one] + 0.5) / volume.heat.shape[one]
        for one in (down, across)
    ]
    draw = ImageDraw.Draw(view)
    y, x = round(share[0] * view.height - 0.5), round(share[1] * view.width - 0.5)
    reach = max(4, _VIEW // 24)  # around the peak they would hide it
    for line in (
        (0, y, x - reach, y),
        (x + reach, y, view.width, y),
        (x, 0, x, y - reach),
        (x, y + reach, x, view.height),
    ):
        if line[2] > line[0] or line[3] > line[1]:
            draw.line(line, fill=_LINE)
    return view


def _tiled(views: Sequence[Pillow.Image], lines: Sequence[str], columns: int) -> Pillow.Image:
    """Pictures in rows on black, each with a line of text below."""
    font = ImageFont.load_default(size=13)
    text = 20
    width, height = max(view.width for view in views), max(view.height for view in views)
    rows = math.ceil(len(views) / columns)
    canvas = Pillow.new("RGB", (columns * (width + _GAP) - _GAP, rows * (height + text)), _BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for index, (view, line) in enumerate(zip(views, lines, strict=True)):
        row, column = divmod(index, columns)
        left, top = column * (width + _GAP), row * (height + text)
        canvas.paste(view, (left + (width - view.width) // 2, top + (height - view.height) // 2))
        draw.text((left + width // 2, top + height + text // 2), line, fill=_LINE, font=font, anchor="mm")
    return canvas
