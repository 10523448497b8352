"""PNG: the overlay with its colour bar, and the heatmap, at the original picture's size; of volumes, views."""

from __future__ import annotations

from PIL import Image as Pillow

from pellucid.export.case import Case, Files, exporter
from pellucid.render import blend, drawing, heatmap_picture, montage, orthogonal, with_colour_bar
from pellucid.render.encoding import png as encoded


@exporter("png")
def png(case: Case) -> Files:
    """``…_overlay.png`` (RGB) and ``…_heatmap.png`` (8-bit grey, 255 is the strongest evidence), of each map.

    Of a volume ``…_overlay.png`` and ``…_montage.png`` (RGB): through the peak in three directions, and slice by slice.
    """
    return overlay(case) | {name: content for one in case.each() for name, content in _beside(one).items()}


@exporter("overlay")
def overlay(case: Case) -> Files:
    """``…_overlay.png`` (RGB) of each map, alone."""
    return {f"{one.name}_overlay.png": encoded(with_colour_bar(drawn(one), one.colormap)) for one in case.each()}


def drawn(one: Case) -> Pillow.Image:
    """A map on its picture, or through a volume's peak."""
    image = one.image
    if image.original.pixels.ndim == 4:
        return orthogonal(drawing(image, one.heat(), one.alpha, one.colormap))
    return blend(image.original.pixels, one.heat(), one.alpha, one.colormap, image.geometry.seen())


def _beside(one: Case) -> Files:
    if one.image.original.pixels.ndim == 4:
        slices = montage(drawing(one.image, one.heat(), one.alpha, one.colormap))
        return {f"{one.name}_montage.png": encoded(with_colour_bar(slices, one.colormap))}
    return {f"{one.name}_heatmap.png": encoded(heatmap_picture(one.heat()))}
