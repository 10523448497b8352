"""PNG: the overlay with its colour bar and caption, alone."""

from __future__ import annotations

from pellucid.export.case import Case, Files
from pellucid.export.drawing import undecorated, with_evidence
from pellucid.render.encoding import png, thumbnail


def export(case: Case) -> Files:
    """``…_overlay.png`` (RGB) of each map, with the original image's pixels as they are; of a volume, three slices.

    The file also holds a thumbnail, for the page of all results.
    """
    return {f"{one.name}_overlay.png": _overlay(one) for one in case.each()}


def _overlay(case: Case) -> bytes:
    plain = undecorated(case)
    is_volume = case.image.original.pixels.ndim == 4
    width = plain.width // 3 if is_volume else plain.width  # the first of three views
    return png(with_evidence(plain, case), thumbnail(plain, (width, plain.height)))
