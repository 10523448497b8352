"""Draws the map of a case on its image, for all formats that hold an overlay."""

from __future__ import annotations

from PIL import Image as Pillow

from pellucid.export.case import Case
from pellucid.render import Drawing, blend, drawing, orthogonal, with_colour_bar


def drawn(case: Case) -> Pillow.Image:
    """The overlay of the first map with a colour bar (RGB); of a volume, three slices through the peak."""
    return with_colour_bar(_overlay(case), case.colormap)


def volume_drawing(case: Case) -> Drawing | None:
    """The volume and its first map, ready to be drawn; None of a 2-D image."""
    if case.image.original.pixels.ndim < 4:
        return None
    return drawing(case.image, case.heat(), case.alpha, case.colormap)


def _overlay(case: Case) -> Pillow.Image:
    volume = volume_drawing(case)
    if volume is not None:
        return orthogonal(volume)
    image = case.image
    return blend(image.original.pixels, case.heat(), case.alpha, case.colormap, image.geometry.inside())
