"""Draws heatmaps in colour: alone, blended with an image, and with a colour bar."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from matplotlib.colors import Colormap
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from torch import Tensor

from pellucid.errors import OptionError, ShapeError, did_you_mean
from pellucid.render.text import INK, font

Bytes = npt.NDArray[np.uint8]

_BAR_TEXT = "evidence"
_TALLEST_BAR = 6
"""The bar's width and letters grow with the image's height, up to this multiple of the image's width."""
_SHORTEST_BAR = 120  # pixels; on a shorter bar the three labels and the title overlap
_LEVELS = 256
"""The number of grey levels, and of a colour map's colours."""
_FRAME = (170, 170, 170)
_TICKS = ("1", "0.5", "0")


def colourise(heat: Tensor, colormap: str = "jet") -> Bytes:
    """Colour a heatmap (H, W) in [0, 1]: RGB, (H, W, 3) uint8.

    Values that are not finite count as 0, values outside [0, 1] as the nearer end.

    Raises:
        OptionError: there is no colour map of that name.
        ShapeError: the heatmap is not 2-D.
    """
    return _coloured(_flat(heat), colormap)


def blend(
    pixels: Tensor, heat: Tensor, alpha: float = 0.5, colormap: str = "jet", inside: Tensor | None = None
) -> Pillow.Image:
    """Blend a heatmap (H, W) with an image (C, H, W), both in [0, 1]: alpha · colour + (1 − alpha) · image.

    An image of one channel is shown as grey; its levels are rounded to the nearest of 256 before, and the result is
    after. Where ``inside`` (H, W) is
    false, the pixel was cropped away before the network, and the image stays as it is: the colour of 0 would claim
    that there is no evidence.

    Raises:
        OptionError: alpha is not between 0 and 1, or there is no colour map of that name.
        ShapeError: the image has neither 1 nor 3 channels, or another size than the heatmap.
    """
    levels = _levels(pixels, heat, alpha).round_().int()
    colours = (torch.from_numpy(_flat(heat)) * 256).clamp_(max=255).int()  # the indices that matplotlib uses
    if inside is not None:
        colours[~inside.cpu()] = _LEVELS
    # One look-up a pixel and channel, which takes a quarter of the time of blending.
    table = _mixed(_known(colormap), alpha)
    places = [(_LEVELS * colours + channel).flatten() for channel in levels.unbind(-1)]
    planes = [row.index_select(0, places[number % len(places)]) for number, row in enumerate(table)]
    return Pillow.merge("RGB", [Pillow.fromarray(plane.view(heat.shape).numpy()) for plane in planes])


def tint(pixels: Tensor, signed: Tensor, alpha: float = 0.5) -> Pillow.Image:
    """Tint an image (C, H, W) in [0, 1] by a signed map (H, W) in [−1, 1]: red where it is positive, else blue.

    The opacity of the colour is alpha · |map|, so that the image stays as it is where the map is 0. A white image
    becomes the colours of matplotlib's "bwr" if alpha is 1.

    Raises:
        OptionError: alpha is not between 0 and 1.
        ShapeError: the image has neither 1 nor 3 channels, or another size than the map.
    """
    levels = _levels(pixels, signed, alpha)
    values = signed.detach().float().cpu().nan_to_num(0).clamp(-1, 1)[..., None]
    opacity = alpha * values.abs()
    colours = torch.where(values > 0, torch.tensor([255.0, 0, 0]), torch.tensor([0, 0, 255.0]))
    return Pillow.fromarray((opacity * colours + (1 - opacity) * levels).round_().byte().numpy())


def _levels(pixels: Tensor, heat: Tensor, alpha: float) -> Tensor:
    """The image in [0, 255], (H, W, C), after checking that it can be blended with a map."""
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha is the opacity of the overlay, between 0 and 1; got {alpha}")
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3) or pixels.shape[1:] != heat.shape:
        expected = "an image of shape (1 or 3, H, W) and a heatmap of shape (H, W) were expected"
        raise ShapeError(f"{expected}, got {tuple(pixels.shape)} and {tuple(heat.shape)}")
    return pixels.detach().float().nan_to_num(0).clamp(0, 1).cpu().movedim(0, -1) * 255


def heatmap_image(heat: Tensor) -> Pillow.Image:
    """Draw a heatmap (H, W) in [0, 1] as a grey image (mode "L"): 255 is the strongest evidence.

    Raises:
        ShapeError: the heatmap is not 2-D.
    """
    return Pillow.fromarray(np.rint(_flat(heat) * 255).astype(np.uint8))


def with_colour_bar(image: Pillow.Image, colormap: str = "jet", ticks: tuple[str, str, str] = _TICKS) -> Pillow.Image:
    """Add a colour bar to the right of an image, on white: 1, the strongest evidence, is at the top.

    ``ticks`` are the labels at its top, middle and bottom.

    The image's own pixels are unchanged. An image that is lower than a readable bar is centred vertically on a
    taller canvas.

    Raises:
        OptionError: there is no colour map of that name.
    """
    # Beside a tall and narrow image, a bar in proportion to the height alone would be far wider than the image.
    scale = min(image.height, _TALLEST_BAR * image.width)
    bar = _bar(max(image.height, _SHORTEST_BAR), max(scale, _SHORTEST_BAR), _known(colormap), ticks)
    canvas = Pillow.new("RGB", (image.width + bar.width, bar.height), "white")
    canvas.paste(image.convert("RGB"), (0, (bar.height - image.height) // 2))
    canvas.paste(bar, (image.width, 0))
    return canvas


@lru_cache(maxsize=8)
def _bar(height: int, scale: int, colormap: str, ticks: tuple[str, str, str]) -> Pillow.Image:
    """The colour bar with its labels, on white; images of the same height and scale share it."""
    unit = max(10, round(scale / 28))  # the font size; all other sizes are multiples of it
    title = _vertical(_BAR_TEXT, font(unit))
    labels = round(max(font(unit).getlength(label) for label in ticks))
    left = unit
    right = left + round(1.1 * unit)
    width = right + unit // 2 + labels + unit // 3 + title.width + unit // 2
    canvas = Pillow.new("RGB", (width, height), "white")
    top, bottom = unit, height - unit
    _draw_bar(canvas, (left, top, right, bottom), colormap)
    draw = ImageDraw.Draw(canvas)
    for share, label in zip((0.0, 0.5, 1.0), ticks, strict=True):
        level = round(top + share * (bottom - 1 - top))
        draw.line((right, level, right + unit // 4, level), fill=INK, width=max(1, unit // 14))
        draw.text((right + unit // 2, level), label, fill=INK, font=font(unit), anchor="lm")
    canvas.paste(title, (right + unit // 2 + labels + unit // 3, (height - title.height) // 2))
    return canvas


def _draw_bar(canvas: Pillow.Image, box: tuple[int, int, int, int], colormap: str) -> None:
    """Fill a box with the colour map, its maximum at the top, and draw a frame around it."""
    left, top, right, bottom = box
    gradient = np.linspace(1, 0, bottom - top, dtype=np.float32)[:, None].repeat(right - left, axis=1)
    canvas.paste(Pillow.fromarray(_coloured(gradient, colormap)), (left, top))
    thick = max(1, (bottom - top) // 700)
    frame = (left - thick, top - thick, right + thick - 1, bottom + thick - 1)
    ImageDraw.Draw(canvas).rectangle(frame, outline=_FRAME, width=thick)


def _vertical(text: str, used: ImageFont.FreeTypeFont) -> Pillow.Image:
    """Draw a text that reads from bottom to top, on white."""
    left, top, right, bottom = (round(edge) for edge in used.getbbox(text))
    drawn = Pillow.new("RGB", (right - left + 2, bottom - top + 2), "white")
    ImageDraw.Draw(drawn).text((1 - left, 1 - top), text, fill=INK, font=used)
    return drawn.transpose(Pillow.Transpose.ROTATE_90)


def _flat(heat: Tensor) -> npt.NDArray[np.float32]:
    """A heatmap as an array (H, W) in [0, 1]."""
    if heat.ndim != 2:
        raise ShapeError(f"one heatmap of shape (H, W) was expected, got {tuple(heat.shape)}")
    levels: npt.NDArray[np.float32] = heat.detach().float().nan_to_num(0, 0, 0).clamp(0, 1).cpu().numpy()
    return levels


def _coloured(heat: npt.NDArray[np.float32], colormap: str) -> Bytes:
    """The colours of an array in [0, 1], RGB."""
    return np.ascontiguousarray(_colour_map(colormap)(heat, bytes=True)[..., :3], dtype=np.uint8)


@lru_cache(maxsize=8)
def _mixed(colormap: str, alpha: float) -> Tensor:
    """The blended level at colour · 256 + level of the image, of red, green and blue, (3, 257 · 256) uint8.

    The last colour leaves the level as it is.
    """
    levels = torch.arange(_LEVELS, dtype=torch.float32)
    palette = torch.from_numpy(_coloured(np.linspace(0, 1, _LEVELS, dtype=np.float32), colormap)).float()
    mixed = (alpha * palette.T[..., None] + (1 - alpha) * levels).round_()
    return torch.cat([mixed, levels.expand(3, 1, _LEVELS)], dim=1).byte().flatten(1)


def _colour_map(name: str) -> Colormap:
    """The colour map of matplotlib of that name."""
    return colormaps[_known(name)]


def _known(name: str) -> str:
    """The name, after checking that matplotlib has a colour map of that name."""
    if not isinstance(name, str) or name not in colormaps:
        hint = did_you_mean(str(name), colormaps) or "; any of matplotlib's can be used, such as jet, viridis or magma"
        raise OptionError(f"there is no colour map named {name!r}{hint}")
    return name
