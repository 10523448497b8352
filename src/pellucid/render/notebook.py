"""Shows an explanation in a notebook, as a self-contained fragment of HTML."""

from __future__ import annotations

from html import escape

from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.caption import caption, class_text
from pellucid.core.explanation import Explanation, counted
from pellucid.render.colour import colourise
from pellucid.render.embed import data_uri

_MAX_IMAGES = 8
_MAX_MAPS = 4
_SIDE = 256  # pixels

_FIGURE_STYLE = (
    f"display:inline-block;vertical-align:top;margin:0 12px 12px 0;max-width:{_SIDE}px;overflow-wrap:anywhere"
)
_IMAGE_STYLE = "display:block;width:{}px;height:{}px;image-rendering:auto"
_BOX_STYLE = "box-sizing:border-box;width:{}px;height:{}px;border:1px dashed gray"
_SMALL_STYLE = "font-size:smaller;opacity:0.7"


def html(explanation: Explanation) -> str:
    """HTML of up to 8 images with up to 4 maps each: the predicted class, and each map in colour with its caption.

    Of a volume, the slice (along the first axis) through the map's peak is drawn; of a sequence, each of up to 8
    images.
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
    figures = [
        _figure(part, image, column) for column in range(min(columns, _MAX_MAPS)) for part in _members(explanation)
    ]
    rest = f"<div>… and {counted(columns - _MAX_MAPS, 'map')} more</div>" if columns > _MAX_MAPS else ""
    reading = explanation.prediction(image)
    prediction = escape(f"{class_text(reading.name, reading.index)}, {reading.measure}")
    return f'<div style="margin-top:8px">image {image}: predicted {prediction}</div><div>{"".join(figures)}</div>{rest}'


def _members(explanation: Explanation) -> list[Explanation]:
    """The explanations of the first images of a sequence; of anything else, itself."""
    if not explanation.is_sequence:
        return [explanation]
    return [explanation.member(number) for number in range(min(explanation.heatmaps.shape[2], _MAX_IMAGES))]


def _figure(explanation: Explanation, image: int, column: int) -> str:
    """One map with its caption; an empty box for a map that shows nothing."""
    reason = explanation.why_degenerate[image][column]
    heat, position = _flat(explanation.heatmaps[image, column])
    text = caption(explanation, image, column, reason)
    drawn = _image(heat, f"map for {explanation.label(image, column)}") if reason is None else _empty(heat)
    shown = f"{escape(text)}{position if reason is None else ''}"
    return f'<div style="{_FIGURE_STYLE}">{drawn}<div style="{_SMALL_STYLE}">explains {shown}</div></div>'


def _flat(heat: Tensor) -> tuple[Tensor, str]:
    """A map (H, W), or the slice of a volume (D, H, W) through its peak, and a line with that slice's index."""
    if heat.ndim == 2:
        return heat, ""
    peak = int(heat.detach().flatten(1).amax(dim=1).argmax())
    return heat[peak], f"<br>slice {peak} of {len(heat)}"


def _image(heat: Tensor, text: str) -> str:
    """A heatmap (H, W) as an embedded image whose longer side is shown at 256 pixels."""
    drawn = Pillow.fromarray(colourise(heat))
    width, height = _shown_size(heat)
    if max(drawn.size) > _SIDE:
        drawn = drawn.resize((width, height), Pillow.Resampling.BOX)
    return f'<img alt="{escape(text)}" style="{_IMAGE_STYLE.format(width, height)}" src="{data_uri(drawn)}">'


def _empty(heat: Tensor) -> str:
    """A box of the size of the map that is not drawn."""
    width, height = _shown_size(heat)
    return f'<div style="{_BOX_STYLE.format(width, height)}"></div>'


def _shown_size(heat: Tensor) -> tuple[int, int]:
    """Width and height at which a heatmap (H, W) is shown."""
    share = _SIDE / max(heat.shape)
    return max(1, round(heat.shape[1] * share)), max(1, round(heat.shape[0] * share))
