"""Pictures of explanations: from here on it is numpy and Pillow."""

from __future__ import annotations

from pellucid.render.colour import blend, colourise, heatmap_picture, with_caption, with_colour_bar
from pellucid.render.overlay import overlay
from pellucid.render.volume import drawing, montage, orthogonal

__all__ = [
    "blend",
    "colourise",
    "drawing",
    "heatmap_picture",
    "montage",
    "orthogonal",
    "overlay",
    "with_caption",
    "with_colour_bar",
]
