"""Draws the map of a case on its image, for all formats that hold an overlay."""

from __future__ import annotations

from PIL import Image as Pillow

from pellucid.core.shown import why_empty
from pellucid.export.case import Case
from pellucid.render import Drawing, annotated, drawing, drawn_on, orthogonal


def drawn(case: Case) -> Pillow.Image:
    """The overlay of the first map with colour bar and caption (RGB); of a volume, three slices through the peak."""
    return with_evidence(undecorated(case), case)


def undecorated(case: Case) -> Pillow.Image:
    """The same without colour bar and caption: of a 2-D image, exactly its pixels."""
    volume = volume_drawing(case)
    if volume is not None:
        return orthogonal(volume)
    image = case.image
    return drawn_on(image.original.pixels, case.shown(), case.style, image.geometry.inside(), _is_empty(case))


def drawn_slice(case: Case, index: int) -> Pillow.Image:
    """The overlay of the first map on one slice of the volume, in its own pixels, with colour bar and caption (RGB)."""
    inside = case.image.geometry.inside()[index]
    pixels = case.image.original.pixels[:, index]
    return with_evidence(drawn_on(pixels, case.shown()[index], case.style, inside, _is_empty(case)), case)


def with_evidence(image: Pillow.Image, case: Case) -> Pillow.Image:
    """Add the colour bar and the caption of the first map to a drawing of it."""
    return annotated(image, case.explanation, 0, 0, case.style)


def volume_drawing(case: Case) -> Drawing | None:
    """The volume and its first map, ready to be drawn; None of a 2-D image."""
    if case.image.original.pixels.ndim < 4:
        return None
    return drawing(case.image, case.shown(), case.style)


def _is_empty(case: Case) -> bool:
    return why_empty(case.explanation, case.signed)[0][0] is not None
