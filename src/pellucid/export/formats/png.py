"""PNG: the overlay with its colour bar and caption, and the heatmap beside it; of a volume, a montage of slices."""

from __future__ import annotations

from pellucid.export.case import Case, Files
from pellucid.export.drawing import volume_drawing, with_evidence
from pellucid.export.formats import overlay
from pellucid.render import heatmap_image, montage
from pellucid.render.encoding import png


def export(case: Case) -> Files:
    """``…_overlay.png`` (RGB) and ``…_heatmap.png`` (8-bit grey, 255 is the strongest evidence) of each map.

    Of a volume ``…_overlay.png`` and ``…_montage.png`` (RGB): three slices through the peak, and slices in a row.
    """
    return overlay.export(case) | {name: content for one in case.each() for name, content in _beside(one).items()}


def _beside(one: Case) -> Files:
    volume = volume_drawing(one)
    if volume is None:
        return {f"{one.name}_heatmap.png": png(heatmap_image(one.heat()))}
    return {f"{one.name}_montage.png": png(with_evidence(montage(volume), one))}
