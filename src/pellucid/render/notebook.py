"""Shows an explanation in a notebook, as a self-contained fragment of HTML."""

from __future__ import annotations

from html import escape

from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.explanation import Explanation, counted
from pellucid.render.colour import colourise
from pellucid.render.embed import data_uri

_MAX_IMAGES = 8
_MAX_MAPS = 4
_SIDE = 256  # pixels

_FIGURE_STYLE = "display:inline-block;vertical-align:top;margin:0 12px 12px 0"
_IMAGE_STYLE = "display:block;width:{}px;height:{}px;image-rendering:auto"
_SMALL_STYLE = "font-size:smaller;opacity:0.7"


def html(explanation: Explanation) -> str:
    """HTML of up to 8 images with up to 4 maps each: the predicted class, the explained class, the map in colour.

    Of a volume, the slice (along the first axis) through the map's peak is drawn.
    """
    images, columns = explanation.targets.shape
    rows = [_row(explanation, image) for image in range(min(images, _MAX_IMAGES))]
    rest = f"<div>… and {counted(images - _MAX_IMAGES, 'image')} more</div>" if images > _MAX_IMAGES else ""
    layers = f" at {escape(', '.join(explanation.layers))}" if explanation.layers else ""
    counts = f"{counted(images, 'image')} × {counted(columns, 'map')}"
    head = f'<div><b>{escape(explanation.method)}</b>{layers} <span style="{_SMALL_STYLE}">{counts}</span></div>'
    return f"<div>{head}{''.join(rows)}{rest}</div>"


def _row(explanation: Explanation, image: int) -> str:
    """One image: its predicted class, and its maps."""
    columns = explanation.targets.shape[1]
    figures = [_figure(explanation, image, column) for column in range(min(columns, _MAX_MAPS))]
    rest = f"<div>… and {counted(columns - _MAX_MAPS, 'map')} more</div>" if columns > _MAX_MAPS else ""
    prediction = escape(str(explanation.prediction(image)))
    return f'<div style="margin-top:8px">image {image}: predicted {prediction}</div><div>{"".join(figures)}</div>{rest}'


def _figure(explanation: Explanation, image: int, column: int) -> str:
    """One map with the class that it explains as its caption."""
    label = explanation.label(image, column)
    reason = explanation.why_degenerate[image][column]
    note = f"<br>shows nothing: {escape(reason)}" if reason is not None else ""
    heat, position = _flat(explanation.heatmaps[image, column])
    caption = f"explains {escape(label)}{position}{note}"
    drawn = _image(heat, f"map for {label}")
    return f'<div style="{_FIGURE_STYLE}">{drawn}<div style="{_SMALL_STYLE}">{caption}</div></div>'


def _flat(heat: Tensor) -> tuple[Tensor, str]:
    """A map (H, W), or the slice of a volume (D, H, W) through its peak, and a note of that slice's index."""
    if heat.ndim == 2:
        return heat, ""
    peak = int(heat.detach().flatten(1).amax(dim=1).argmax())
    return heat[peak], f", slice {peak} of {len(heat)}"


def _image(heat: Tensor, text: str) -> str:
    """A heatmap (H, W) as an embedded image whose longer side is shown at 256 pixels."""
    drawn = Pillow.fromarray(colourise(heat))
    share = _SIDE / max(drawn.size)
    width, height = (max(1, round(side * share)) for side in drawn.size)
    if share < 1:
        drawn = drawn.resize((width, height), Pillow.Resampling.BOX)
    return f'<img alt="{escape(text)}" style="{_IMAGE_STYLE.format(width, height)}" src="{data_uri(drawn)}">'
