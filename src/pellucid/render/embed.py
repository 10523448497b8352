"""Embeds images in an HTML page: as data URIs, and as SVG outlines of masks."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from torch import Tensor


def data_uri(image: Pillow.Image) -> str:
    """An image as a lossless PNG data URI, for the attributes ``src`` and ``href``."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def outline(mask: Tensor) -> str:
    """The border of a mask (H, W) as the ``d`` of an SVG path in pixels: the edges between inside and outside."""
    inside: npt.NDArray[np.bool_] = np.pad(mask.cpu().numpy().astype(bool), 1)
    across = np.argwhere(inside[1:, 1:-1] != inside[:-1, 1:-1])
    down = np.argwhere(inside[1:-1, 1:] != inside[1:-1, :-1])
    return "".join(f"M{x} {y}h1" for y, x in across) + "".join(f"M{x} {y}v1" for y, x in down)
