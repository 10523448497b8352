"""Heatmaps in colour, on their own, on a picture, and beside a colour bar."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.colors import Colormap
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import OptionError, ShapeError, did_you_mean

Bytes = npt.NDArray[np.uint8]

_BAR_TEXT = "evidence"
_SHORTEST_BAR = 120  # pixels; on anything shorter the three labels and the word run into each other
_SMALLEST_TEXT = 9
_INK = (60, 60, 60)
_FRAME = (170, 170, 170)


def colourise(heat: Tensor, colormap: str = "jet") -> Bytes:
    """Colour a heatmap (H, W) in [0, 1]: RGB, (H, W, 3) uint8.

    What is not finite counts as no evidence, what leaves [0, 1] as its nearer end.

    Raises:
        OptionError: there is no colour map of that name.
        ShapeError: the heatmap is not 2-D.
    """
    return _coloured(_flat(heat), colormap)


def blend(
    pixels: Tensor, heat: Tensor, alpha: float = 0.5, colormap: str = "jet", seen: Tensor | None = None
) -> Pillow.Image:
    """Lay a heatmap (H, W) over a picture (C, H, W), both in [0, 1]: alpha · colour + (1 − alpha) · picture.

    A picture of one channel is shown as grey; levels are rounded to the nearest of 256. Where ``seen`` (H, W)
    is false, the network saw nothing, and the picture stays as it is: no colour is not no evidence.

    Raises:
        OptionError: alpha is not between 0 and 1, or there is no colour map of that name.
        ShapeError: the picture has neither 1 nor 3 channels, or another size than the heatmap.
    """
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha is how much of the colour is seen, between 0 and 1; got {alpha}")
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or pixels.shape[1:] != heat.shape:
        expected = "a picture of shape (1 or 3, H, W) and a heatmap of shape (H, W) were expected"
        raise ShapeError(f"{expected}, got {tuple(pixels.shape)} and {tuple(heat.shape)}")
    levels = pixels.detach().float().nan_to_num(0).clamp(0, 1).cpu().movedim(0, -1) * 255
    # By torch, which looks colours up and mixes them in a fifth of NumPy's time.
    table = torch.from_numpy(_steps(_known(colormap))).float()
    steps = (torch.from_numpy(_flat(heat)) * 256).clamp_(max=255).int()  # as matplotlib counts them
    mixed = F.embedding(steps, alpha * table).add_((1 - alpha) * levels)
    if seen is not None and not bool(seen.all()):
        mixed = torch.where(seen.cpu()[..., None], mixed, levels)
    return Pillow.fromarray(mixed.round_().byte().numpy())


def heatmap_picture(heat: Tensor) -> Pillow.Image:
    """Draw a heatmap (H, W) in [0, 1] as a grey picture (mode "L"): 255 is the strongest evidence.

    Raises:
        ShapeError: the heatmap is not 2-D.
    """
    return Pillow.fromarray(np.rint(_flat(heat) * 255).astype(np.uint8))


def with_colour_bar(picture: Pillow.Image, colormap: str = "jet") -> Pillow.Image:
    """Set a colour bar to the right of a picture, on white: 1, the strongest evidence, is at the top.

    The picture's own pixels are unchanged in the left part; one lower than a readable bar stands in the
    middle of a taller canvas.

    Raises:
        OptionError: there is no colour map of that name.
    """
    bar = _bar(max(picture.height, _SHORTEST_BAR), _known(colormap))
    canvas = Pillow.new("RGB", (picture.width + bar.width, bar.height), "white")
    canvas.paste(picture.convert("RGB"), (0, (bar.height - picture.height) // 2))
    canvas.paste(bar, (picture.width, 0))
    return canvas


def with_caption(picture: Pillow.Image, text: str) -> Pillow.Image:
    """Set a line of text below a picture, on white, as large as fits. The picture's own pixels are unchanged."""
    unit = max(10, round(picture.height / 28))
    font = ImageFont.load_default(size=unit)
    while unit > _SMALLEST_TEXT and font.getlength(text) > picture.width:
        unit -= 1
        font = ImageFont.load_default(size=unit)
    lines = _wrapped(text, font, picture.width)
    canvas = Pillow.new("RGB", (picture.width, picture.height + round(1.4 * unit * len(lines)) + unit // 2), "white")
    canvas.paste(picture.convert("RGB"), (0, 0))
    for index, line in enumerate(lines):
        level = picture.height + unit // 4 + round(1.4 * unit * (index + 0.5))
        ImageDraw.Draw(canvas).text((picture.width // 2, level), line, fill=_INK, font=font, anchor="mm")
    return canvas


def _wrapped(text: str, font: Any, width: int) -> list[str]:
    """Text in lines that are as wide as a picture, if its words are not wider."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@lru_cache(maxsize=8)
def _bar(height: int, colormap: str) -> Pillow.Image:
    """The colour bar with its labels, on white; many pictures of one height share it."""
    unit = max(10, round(height / 28))  # the font's size, of which everything else is a multiple
    font = ImageFont.load_default(size=unit)
    word = _upright(_BAR_TEXT, font)
    labels = round(font.getlength("0.5"))
    left = unit
    right = left + round(1.1 * unit)
    width = right + unit // 2 + labels + unit // 3 + word.width + unit // 2
    canvas = Pillow.new("RGB", (width, height), "white")
    top, bottom = unit, height - unit
    _draw_bar(canvas, (left, top, right, bottom), colormap)
    draw = ImageDraw.Draw(canvas)
    for share, label in ((0.0, "1"), (0.5, "0.5"), (1.0, "0")):
        level = round(top + share * (bottom - 1 - top))
        draw.line((right, level, right + unit // 4, level), fill=_INK, width=max(1, unit // 14))
        draw.text((right + unit // 2, level), label, fill=_INK, font=font, anchor="lm")
    canvas.paste(word, (right + unit // 2 + labels + unit // 3, (height - word.height) // 2))
    return canvas


def _draw_bar(canvas: Pillow.Image, box: tuple[int, int, int, int], colormap: str) -> None:
    """Fill a box with the colour map, hot at the top, and frame it."""
    left, top, right, bottom = box
    gradient = np.linspace(1, 0, bottom - top, dtype=np.float32)[:, None].repeat(right - left, axis=1)
    canvas.paste(Pillow.fromarray(_coloured(gradient, colormap)), (left, top))
    thick = max(1, (bottom - top) // 700)
    frame = (left - thick, top - thick, right + thick - 1, bottom + thick - 1)
    ImageDraw.Draw(canvas).rectangle(frame, outline=_FRAME, width=thick)


def _upright(text: str, font: Any) -> Pillow.Image:
    """Write a word that is read from the bottom to the top, on white."""
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    word = Pillow.new("RGB", (right - left + 2, bottom - top + 2), "white")
    ImageDraw.Draw(word).text((1 - left, 1 - top), text, fill=_INK, font=font)
    return word.transpose(Pillow.Transpose.ROTATE_90)


def _flat(heat: Tensor) -> npt.NDArray[np.float32]:
    """Return a heatmap as an array (H, W) in [0, 1]."""
    if heat.ndim != 2:
        raise ShapeError(f"one heatmap of shape (H, W) was expected, got {tuple(heat.shape)}")
    levels: npt.NDArray[np.float32] = heat.detach().float().nan_to_num(0, 0, 0).clamp(0, 1).cpu().numpy()
    return levels


def _coloured(heat: npt.NDArray[np.float32], colormap: str) -> Bytes:
    """Look the colours of an array in [0, 1] up."""
    return np.ascontiguousarray(_colour_map(colormap)(heat, bytes=True)[..., :3], dtype=np.uint8)


@lru_cache(maxsize=8)
def _steps(colormap: str) -> Bytes:
    """The 256 colours of a colour map, (256, 3)."""
    return _coloured(np.linspace(0, 1, 256, dtype=np.float32), colormap)


def _colour_map(name: str) -> Colormap:
    """Find a colour map of matplotlib by its name."""
    return colormaps[_known(name)]


def _known(name: str) -> str:
    """The name of a colour map, if there is one of that name."""
    if not isinstance(name, str) or name not in colormaps:
        hint = did_you_mean(str(name), colormaps) or "; matplotlib's names are known, such as jet, viridis or magma"
        raise OptionError(f"there is no colour map named {name!r}{hint}")
    return name
