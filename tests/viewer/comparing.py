"""Compares what a viewer draws with what it should draw."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

Picture = npt.NDArray[np.float32]
"""Numbers (H, W), or colours (H, W, 3)."""


def fitted(picture: Picture, canvas: tuple[int, int]) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """A picture of square pixels as a viewport (height, width) shows it: as large as it fits, in the middle.

    The second array says which pixels of the viewport belong to it.
    """
    height, width = picture.shape[:2]
    scale = min(canvas[0] / height, canvas[1] / width)
    size = (round(height * scale), round(width * scale))
    top, left = (canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2
    shown = np.zeros((*canvas, *picture.shape[2:]), np.float32)
    inside = np.zeros(canvas, bool)
    inside[top : top + size[0], left : left + size[1]] = True
    planes = np.atleast_3d(picture)
    for index in range(planes.shape[2]):
        plane = Pillow.fromarray(planes[..., index].astype(np.float32)).resize(size[::-1], Pillow.Resampling.BILINEAR)
        np.atleast_3d(shown)[top : top + size[0], left : left + size[1], index] = np.asarray(plane)
    return shown, inside


def correlation(drawn: Picture, expected: Picture) -> float:
    """Pearson's correlation of what is drawn (canvas) with what is expected (any size), where the image is."""
    shown, inside = fitted(expected, drawn.shape[:2])
    return float(np.corrcoef(drawn[inside].ravel(), shown[inside].ravel())[0, 1])


def mirrored(picture: Picture) -> list[Picture]:
    """The wrong pictures: left for right, upside down, and both."""
    return [picture[:, ::-1], picture[::-1], picture[::-1, ::-1]]


def colour(picture: Picture) -> Picture:
    """How colourful each pixel is: the difference of its largest and its smallest channel. Of grey it is 0."""
    return picture.max(axis=2) - picture.min(axis=2)


def line(points: npt.NDArray[np.float64], size: tuple[int, int]) -> Picture:
    """A closed line of (column, row) as a picture with eight pixels for each of the image's, slightly blurred."""
    canvas = Pillow.new("L", (8 * size[1], 8 * size[0]))
    ImageDraw.Draw(canvas).line([tuple(point) for point in 8 * points], fill=255, width=6)
    return blurred(np.asarray(canvas, np.float32))


def blurred(picture: Picture, radius: float = 5) -> Picture:
    """A picture in which lines that are a little apart overlap."""
    smooth = Pillow.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(smooth, np.float32)
