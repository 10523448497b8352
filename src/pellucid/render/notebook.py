"""An explanation as a notebook shows it: a fragment of HTML that needs nothing else."""

from __future__ import annotations

from html import escape

from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.explanation import Explanation, counted
from pellucid.render.colour import colourise
from pellucid.render.embed import data_uri

_IMAGES = 8
_MAPS = 4
_SIDE = 256  # pixels

_FIGURE = "display:inline-block;vertical-align:top;margin:0 12px 12px 0"
_PICTURE = "display:block;width:{}px;height:{}px;image-rendering:auto"
_SMALL = "font-size:smaller;opacity:0.7"


def html(explanation: Explanation) -> str:
    """Up to 8 images with up to 4 maps each: what was predicted, what is explained, the map in colour.

    Of volumes, the slice (the first axis cut) through the map's peak is drawn.
    """
    images, columns = explanation.targets.shape
    rows = [_row(explanation, image) for image in range(min(images, _IMAGES))]
    rest = f"<div>… and {counted(images - _IMAGES, 'image')} more</div>" if images > _IMAGES else ""
    layers = f" at {escape(', '.join(explanation.layers))}" if explanation.layers else ""
    counts = f"{counted(images, 'image')} × {counted(columns, 'map')}"
    head = f'<div><b>{escape(explanation.method)}</b>{layers} <span style="{_SMALL}">{counts}</span></div>'
    return f"<div>{head}{''.join(rows)}{rest}</div>"


def _row(explanation: Explanation, image: int) -> str:
    """One image: what the model says of it, and its maps."""
    columns = explanation.targets.shape[1]
    figures = [_figure(explanation, image, column) for column in range(min(columns, _MAPS))]
    rest = f"<div>… and {counted(columns - _MAPS, 'map')} more</div>" if columns > _MAPS else ""
    probabilities = explanation.probabilities[image]
    best = int(probabilities.argmax())
    told = f"{escape(explanation.class_name(best))}, p = {float(probabilities[best]):.3g}"
    return f'<div style="margin-top:8px">image {image}: predicted {told}</div><div>{"".join(figures)}</div>{rest}'


def _figure(explanation: Explanation, image: int, column: int) -> str:
    """One map over the class that it explains."""
    label = explanation.label(image, column)
    reason = explanation.why_degenerate[image][column]
    note = f"<br>shows nothing: {escape(reason)}" if reason is not None else ""
    heat, where = _flat(explanation.heatmaps[image, column])
    caption = f"explains {escape(label)}{where}{note}"
    return f'<div style="{_FIGURE}">{_picture(heat, f"map for {label}")}<div style="{_SMALL}">{caption}</div></div>'


def _flat(heat: Tensor) -> tuple[Tensor, str]:
    """A map (H, W), or the slice of a volume (D, H, W) through its peak; and which slice that is."""
    if heat.ndim == 2:
        return heat, ""
    peak = int(heat.detach().flatten(1).amax(dim=1).argmax())
    return heat[peak], f", slice {peak} of {len(heat)}"


def _picture(heat: Tensor, text: str) -> str:
    """A heatmap (H, W) as an image that the page itself holds, its longer side 256 pixels; grids are enlarged."""
    drawn = Pillow.fromarray(colourise(heat))
    share = _SIDE / max(drawn.size)
    width, height = (max(1, round(side * share)) for side in drawn.size)
    if share < 1:
        drawn = drawn.resize((width, height), Pillow.Resampling.BOX)
    return f'<img alt="{escape(text)}" style="{_PICTURE.format(width, height)}" src="{data_uri(drawn)}">'
