"""Pictures of explanations: from here on it is numpy and Pillow."""

from __future__ import annotations

from pellucid.render.colour import blend, colourise, heatmap_picture, with_colour_bar
from pellucid.render.overlay import overlay

__all__ = ["blend", "colourise", "heatmap_picture", "overlay", "with_colour_bar"]
