"""Draws one map on its image, and puts the colour bar and the caption beside it."""

from __future__ import annotations

from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.caption import caption
from pellucid.core.explanation import Explanation
from pellucid.core.shown import why_empty
from pellucid.core.style import Style
from pellucid.render.colour import blend, tint, with_colour_bar
from pellucid.render.text import with_caption


def drawn_on(pixels: Tensor, shown: Tensor, style: Style, inside: Tensor, empty: bool) -> Pillow.Image:
    """Draw a map (H, W) on an image (C, H, W); the image alone where the map is empty.

    ``shown`` is in [0, 1], or in [−1, 1] for a signed style.
    """
    alpha = 0 if empty else style.alpha
    return tint(pixels, shown, alpha) if style.signed else blend(pixels, shown, alpha, style.colours, inside)


def annotated(image: Pillow.Image, explanation: Explanation, number: int, column: int, style: Style) -> Pillow.Image:
    """Add the colour bar and the caption of a map to its drawing. A map that shows nothing gets no colour bar."""
    reason = why_empty(explanation, style.signed)[number][column]
    barred = image if reason is not None else with_colour_bar(image, style.colours, style.ticks)
    return with_caption(barred, caption(explanation, number, column, reason))
