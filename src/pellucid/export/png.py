"""PNG: the overlay with its colour bar, and the heatmap on its own, at the original picture's size."""

from __future__ import annotations

import io

from PIL.Image import Image as Picture

from pellucid.export.case import Case, Files, exporter
from pellucid.render import heatmap_picture, overlay, with_colour_bar


@exporter("png")
def png(case: Case) -> Files:
    """``…_overlay.png`` (RGB) and ``…_heatmap.png`` (8-bit grey, 255 is the strongest evidence)."""
    drawn = overlay(case.explanation, case.image, case.alpha, case.colormap)[0]
    return {
        f"{case.name}_overlay.png": _encoded(with_colour_bar(drawn, case.colormap)),
        f"{case.name}_heatmap.png": _encoded(heatmap_picture(case.heat())),
    }


def _encoded(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    # The default level takes longer than the network, for a tenth less.
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
