"""Draws explanations as images, with NumPy and Pillow: overlays, colour bars, captions, and views of volumes."""

from __future__ import annotations

from pellucid.render.annotation import annotated, drawn_on
from pellucid.render.colour import blend, colourise, heatmap_image, with_colour_bar
from pellucid.render.notebook import Shown, show
from pellucid.render.overlay import Overlays, overlay
from pellucid.render.text import with_caption
from pellucid.render.viewer import viewer
from pellucid.render.volume import Drawing, drawing, montage, orthogonal

__all__ = [
    "Drawing",
    "Overlays",
    "Shown",
    "annotated",
    "blend",
    "colourise",
    "drawing",
    "drawn_on",
    "heatmap_image",
    "montage",
    "orthogonal",
    "overlay",
    "show",
    "viewer",
    "with_caption",
    "with_colour_bar",
]
