"""Compares what a viewer draws with what it should draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageFilter

Picture = npt.NDArray[np.float32]
"""Numbers (H, W), or a screenshot (H, W, 3)."""


def fitted(picture: Picture, canvas: tuple[int, int]) -> Picture:
    """A picture (H, W) of square pixels as a viewport (height, width) shows it: as large as it fits, in the middle.

    It is NaN elsewhere.
    """
    scale = min(canvas[0] / picture.shape[0], canvas[1] / picture.shape[1])
    height, width = (round(length * scale) for length in picture.shape)
    top, left = (canvas[0] - height) // 2, (canvas[1] - width) // 2
    shown = np.full(canvas, np.nan, np.float32)
    large = Pillow.fromarray(picture.astype(np.float32)).resize((width, height), Pillow.Resampling.BILINEAR)
    shown[top : top + height, left : left + width] = np.asarray(large)
    return shown


def correlation(drawn: Picture, expected: Picture) -> float:
    """Pearson's correlation of what is drawn (a viewport) with what is expected (of any size), where that is known."""
    shown = fitted(expected, drawn.shape)
    known = np.isfinite(shown)
    return float(np.corrcoef(drawn[known], shown[known])[0, 1])


def on_page(heat: Picture, page: tuple[int, int]) -> Picture:
    """A map in the upper left corner of a page, of which nothing else is expected."""
    whole = np.full(page, np.nan, np.float32)
    whole[: heat.shape[0], : heat.shape[1]] = heat
    return whole


def mirrored(picture: Picture) -> list[Picture]:
    """The wrong pictures: left for right, upside down, and both."""
    return [picture[:, ::-1], picture[::-1], picture[::-1, ::-1]]


def colour(picture: Picture) -> Picture:
    """How colourful each pixel is: the difference of its largest and its smallest channel. Of grey it is 0."""
    return picture.max(axis=2) - picture.min(axis=2)


def warmth(picture: Picture) -> Picture:
    """From blue through green and yellow to red, the colours of an overlay: what is stronger is warmer."""
    return picture[..., 0] + picture[..., 1] - picture[..., 2]


def edge(heat: Picture) -> Picture:
    """The line around where a map has at least half of its maximum, eight pixels for each of the map's, blurred."""
    size = (8 * heat.shape[1], 8 * heat.shape[0])
    fine = np.asarray(Pillow.fromarray(heat).resize(size, Pillow.Resampling.BILINEAR))
    region = Pillow.fromarray(np.where(fine >= 0.5 * heat.max(), 255, 0).astype(np.uint8))
    grown, shrunk = region.filter(ImageFilter.MaxFilter(7)), region.filter(ImageFilter.MinFilter(7))
    return blurred(np.asarray(grown, np.float32) - np.asarray(shrunk, np.float32))


def blurred(picture: Picture, radius: float = 5) -> Picture:
    """A picture in which lines that are a little apart overlap."""
    smooth = Pillow.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(smooth, np.float32)
