"""Draws a case for a report: the map on the image as it was read, the finding's outline, the peak and a colour bar."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from pellucid.core.image import Image
from pellucid.core.style import Style
from pellucid.metrics.pointing import peaks
from pellucid.render.annotation import drawn_on
from pellucid.render.colour import with_colour_bar

Point = tuple[float, ...]
_STYLE = Style()
_LEAST = 384
_RING, _REACH = 40, 2.2
"""The ring's radius as a part of the longest side, and how far the cross hairs reach, in radii."""


def example_image(image: Image, heat: Tensor, mask: Tensor | None, side: int) -> Pillow.Image:
    """A map on the grid of the network's input (*space), with values in [0, 1], on its image.

    The outline is that of ``mask`` (*space), white within black. A ring with cross hairs marks the peak, as the
    pointing game has it. Of a volume the slice of the finding is drawn, without one that of the peak. An empty map, or
    one that is not there (NaN), is the image alone. ``side`` is the longest side of the drawing in pixels, without the
    colour bar.
    """
    known = torch.nan_to_num(heat)
    is_empty = not bool(known.any())
    peak = None if is_empty else _peak(image, known)
    pixels, outline = image.original.pixels, None if mask is None else _restored(image, mask.float()) >= 0.5
    restored, inside = _restored(image, known), image.geometry.inside()
    if restored.ndim == 3:
        at = _slice(outline if outline is not None and bool(outline.any()) else restored, peak)
        pixels, restored, inside = pixels[:, at], restored[at], inside[at]
        outline = None if outline is None else outline[at]
        peak = None if peak is None or int(peak[0]) != at else peak[1:]
    drawn = _within(drawn_on(pixels, restored, _STYLE, inside, empty=is_empty), side)
    if outline is not None:
        drawn = _outlined(drawn, outline)
    if peak is not None:
        drawn = _marked(drawn, peak, restored.shape)
    return drawn.convert("RGB") if is_empty else with_colour_bar(drawn, _STYLE.colours, _STYLE.ticks)


def _restored(image: Image, values: Tensor) -> Tensor:
    return image.geometry.restore(values[None, None])[0, 0]


def _peak(image: Image, heat: Tensor) -> Point:
    """The centre of the pixel of the peak, on the image as it was read."""
    return image.geometry.source_point([place + 0.5 for place in peaks(heat[None])[0].tolist()])


def _slice(values: Tensor, peak: Point | None) -> int:
    """The slice with the largest part of a finding; of a map that of its peak."""
    if values.dtype is torch.bool or peak is None:
        return int(values.flatten(1).sum(1).argmax())
    return min(max(int(peak[0]), 0), len(values) - 1)


def _within(drawn: Pillow.Image, side: int) -> Pillow.Image:
    """The drawing, of at most ``side`` pixels a side; a small one is enlarged, so that lines on it stay thin."""
    factor = min(max(1.0, _LEAST / max(drawn.size)), side / max(drawn.size))
    width, height = (max(1, round(length * factor)) for length in drawn.size)
    return drawn.resize((width, height), Pillow.Resampling.BILINEAR)


def _outlined(drawn: Pillow.Image, mask: Tensor) -> Pillow.Image:
    """An image with a mask's outline, white within black: it is seen on every colour."""
    flags = Pillow.fromarray(mask.numpy().astype(np.uint8) * 255).resize(drawn.size, Pillow.Resampling.NEAREST)
    inside: npt.NDArray[np.bool_] = np.array(flags) > 0
    width = max(1, max(drawn.size) // 150)
    white = binary_dilation(inside, iterations=width) & ~inside
    black = (binary_dilation(inside, iterations=2 * width) & ~inside & ~white) | (
        inside & ~binary_erosion(inside, iterations=width)
    )
    colours = np.array(drawn.convert("RGB"))
    colours[white], colours[black] = 255, 0
    return Pillow.fromarray(colours)


def _marked(drawn: Pillow.Image, peak: Point, source: torch.Size) -> Pillow.Image:
    """An image with a ring around the peak and cross hairs that leave its pixel free, white within black."""
    marked = drawn.convert("RGB")
    y, x = (place * length / whole for place, length, whole in zip(peak, drawn.size[::-1], source, strict=True))
    radius, width = max(4, max(drawn.size) / _RING), max(1, max(drawn.size) // 150)
    canvas = ImageDraw.Draw(marked)
    for colour, line in (("black", 3 * width), ("white", width)):
        edge = radius + line / 2  # Pillow draws a ring's line within its box
        canvas.ellipse((x - edge, y - edge, x + edge, y + edge), outline=colour, width=line)
        for across, down in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            near, far = ((x + across * one, y + down * one) for one in (radius, _REACH * radius))
            canvas.line((*near, *far), fill=colour, width=line)
    return marked
