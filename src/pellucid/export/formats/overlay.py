"""PNG: the overlay with its colour bar and caption, alone."""

from __future__ import annotations

from pellucid.export.case import Case, Files
from pellucid.export.drawing import drawn
from pellucid.render.encoding import png


def export(case: Case) -> Files:
    """``…_overlay.png`` (RGB) of each map, with the original image's pixels as they are; of a volume, three slices."""
    return {f"{one.name}_overlay.png": png(drawn(one)) for one in case.each()}
