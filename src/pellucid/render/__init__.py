"""Draws explanations as images, with NumPy and Pillow: overlays, colour bars, and views of volumes."""

from __future__ import annotations

from pellucid.render.colour import blend, colourise, heatmap_image, with_caption, with_colour_bar
from pellucid.render.overlay import overlay
from pellucid.render.volume import Drawing, drawing, montage, orthogonal

__all__ = [
    "Drawing",
    "blend",
    "colourise",
    "drawing",
    "heatmap_image",
    "montage",
    "orthogonal",
    "overlay",
    "with_caption",
    "with_colour_bar",
]
