"""PNG: the overlay with its colour bar, and the heatmap on its own, at the original picture's size."""

from __future__ import annotations

from pellucid.export.case import Case, Files, exporter
from pellucid.render import blend, heatmap_picture, with_colour_bar
from pellucid.render.encoding import png as encoded


@exporter("png")
def png(case: Case) -> Files:
    """``…_overlay.png`` (RGB) and ``…_heatmap.png`` (8-bit grey, 255 is the strongest evidence)."""
    return overlay(case) | {f"{case.name}_heatmap.png": encoded(heatmap_picture(case.heat()))}


@exporter("overlay")
def overlay(case: Case) -> Files:
    """``…_overlay.png`` (RGB), without the heatmap on its own."""
    image = case.image
    drawn = blend(image.original.pixels, case.heat(), case.alpha, case.colormap, image.geometry.seen())
    return {f"{case.name}_overlay.png": encoded(with_colour_bar(drawn, case.colormap))}
