"""Shows explanations in a notebook, as a self-contained fragment of HTML: each image, and its maps side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from PIL import Image as Pillow
from torch import Tensor, ones_like, zeros_like

from pellucid.core.caption import caption, class_text
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.shown import shown_maps, why_empty
from pellucid.core.style import Style
from pellucid.errors import OptionError, ShapeError, counted
from pellucid.render.canvas import SIDE, Canvas, canvases
from pellucid.render.colour import colourise, tint
from pellucid.render.embed import data_uri
from pellucid.render.overlay import ImagesLike

_MAX_IMAGES = 8
_MAX_MAPS = 4

_FIGURE_STYLE = (
    f"display:inline-block;vertical-align:top;margin:0 12px 12px 0;max-width:{SIDE}px;overflow-wrap:anywhere"
)
_IMAGE_STYLE = "display:block;width:{}px;height:{}px;image-rendering:auto"
_BOX_STYLE = "box-sizing:border-box;width:{}px;height:{}px;border:1px dashed gray"
_SMALL_STYLE = "font-size:smaller;opacity:0.7"
_WITHOUT = f'<div style="{_SMALL_STYLE}">maps alone: pellucid.show(explanation, images) draws them on the images</div>'
Canvases = Sequence[list[Canvas]]


@dataclass(frozen=True)
class Shown:
    """What ``show`` returns: notebooks display it; ``html`` is a fragment of HTML that loads nothing."""

    html: str

    def __repr__(self) -> str:
        """One line, without the HTML."""
        return f"Shown({len(self.html)} characters of HTML)"

    def _repr_html_(self) -> str:
        """The HTML that a notebook displays."""
        return self.html


@on_cpu_by_default
def show(
    explanations: Explanation | Sequence[Explanation],
    images: ImagesLike | None = None,
    alpha: float = 0.5,
    colormap: str = "jet",
    signed: bool = False,
) -> Shown:
    """Show images in a notebook, each beside its maps by one method or several, with the classes' probabilities.

    ``explanations``: one, or several of the same images. ``images``: those that were explained, as for ``overlay``; of
    volumes also tensors (B, C, D, H, W); of sequences tensors (B, S, C, H, W). They can be left out where ``explain``
    was given images. ``alpha``, ``colormap`` and ``signed`` are those of ``overlay``.

    Up to 8 images with up to 4 maps of each explanation are shown; of a volume the slice, along the first axis, through
    each map's peak; of a sequence each of up to 8 images.

    Raises:
        ShapeError: the explanations are not of the same images, or the images do not fit.
        OptionError: no explanation was given, or an option of ``overlay`` is not possible.
    """
    style = Style(alpha, colormap, signed)
    listed = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    checked(listed)
    return Shown(_html(listed, canvases(listed[0], images), style))


def checked(explanations: Sequence[Explanation]) -> None:
    """Raise unless these are explanations of the same images."""
    wrong = [one for one in explanations if not isinstance(one, Explanation)]
    if wrong or not explanations:
        got = type(wrong[0]).__name__ if wrong else "an empty list"
        raise OptionError(
            f"explanations were expected, got {got}: give those that pellucid.explain returned, as [a, b]"
        )
    sizes = {(len(one), *one.heatmaps.shape[2:]) for one in explanations}
    if len(sizes) > 1:
        texts = " and ".join(f"{size[0]} of {size[1:]}" for size in sorted(sizes))
        raise ShapeError(f"explanations of the same images were expected, got of {texts}: show each alone")


def html(explanation: Explanation) -> str:
    """The HTML that a notebook displays of an explanation: as ``show``, on the images that it has."""
    return _html([explanation], canvases(explanation, None), Style())


def _html(explanations: Sequence[Explanation], under: Canvases | None, style: Style) -> str:
    count = len(explanations[0])
    rows = [
        _row(explanations, None if under is None else under[number], number, style)
        for number in range(min(count, _MAX_IMAGES))
    ]
    rest = f"<div>… and {counted(count - _MAX_IMAGES, 'image')} more</div>" if count > _MAX_IMAGES else ""
    heads = "".join(_head(one) for one in explanations)
    return f"<div>{heads}{'' if under else _WITHOUT}{''.join(rows)}{rest}</div>"


def _head(explanation: Explanation) -> str:
    """The method, its layers, and how many maps there are."""
    layers = f" at {escape(', '.join(explanation.layers))}" if explanation.layers else ""
    images, columns = explanation.targets.shape
    counts = f"{counted(images, 'image')} × {counted(columns, 'map')}"
    return f'<div><b>{escape(explanation.method)}</b>{layers} <span style="{_SMALL_STYLE}">{counts}</span></div>'


def _row(explanations: Sequence[Explanation], under: list[Canvas] | None, number: int, style: Style) -> str:
    """One image: its predicted class, the image itself, and its maps."""
    reading = explanations[0].prediction(number)
    prediction = escape(f"{class_text(reading.name, reading.index)}, {reading.measure}")
    maps = [_Map(one, number, column, style) for one in explanations for column in range(_columns(one))]
    members = range(min(explanations[0].heatmaps.shape[2], _MAX_IMAGES)) if explanations[0].is_sequence else [None]
    figures = [_figures(maps, None if under is None else under[member or 0], member) for member in members]
    hidden = sum(one.targets.shape[1] - _columns(one) for one in explanations)
    rest = f"<div>… and {counted(hidden, 'map')} more</div>" if hidden else ""
    head = f'<div style="margin-top:8px">image {number}: predicted {prediction}</div>'
    return f"{head}<div>{''.join(figures)}</div>{rest}"


def _columns(explanation: Explanation) -> int:
    """The number of an image's maps that are shown."""
    return min(explanation.targets.shape[1], _MAX_MAPS)


@dataclass(frozen=True)
class _Map:
    """One map of an image, with what its caption needs."""

    explanation: Explanation
    number: int
    column: int
    style: Style

    def of(self, member: int | None) -> _Map:
        """The map of one image of a sequence."""
        return self if member is None else replace(self, explanation=self.explanation.member(member))

    @property
    def heat(self) -> Tensor:
        """What is drawn, (*space)."""
        chosen = self.explanation.one(self.number, self.column)
        return shown_maps(chosen, self.style.signed)[0, 0].cpu()

    @property
    def reason(self) -> str | None:
        """Why it shows nothing, if it does not."""
        return why_empty(self.explanation, self.style.signed)[self.number][self.column]

    def figure(self, drawn: str, position: str = "") -> str:
        """The drawn map with its caption."""
        text = escape(caption(self.explanation, self.number, self.column, self.reason))
        where = position if self.reason is None else ""
        return _figure(drawn, f"explains {text}{where}")

    def named(self, image: Pillow.Image) -> str:
        """The drawn map as an element."""
        return _element(image, f"map for {self.explanation.label(self.number, self.column)}")


def _figures(maps: Sequence[_Map], under: Canvas | None, member: int | None) -> str:
    """One image, or one image of a sequence, and its maps."""
    own = [one.of(member) for one in maps]
    if under is None:
        return "".join(_alone(one) for one in own)
    if under.slices:
        return _slices(own, under)
    plain = _figure(_element(under.flat(own[0].heat, own[0].style, empty=True), "the image"), "the image")
    drawn = [one.figure(one.named(under.flat(one.heat, one.style, one.reason is not None))) for one in own]
    return plain + "".join(drawn)


def _slices(maps: Sequence[_Map], under: Canvas) -> str:
    """A volume: the slice through the first map's peak, and through each map's own peak with its map."""
    volumes = [under.volume(one.heat, one.style) for one in maps]
    peaks = [volume.peak[0] if volume.peak else under.slices // 2 for volume in volumes]
    alone = replace(volumes[0], heat=zeros_like(volumes[0].heat))
    where = [f"<br>slice {peak} of {under.slices}" for peak in peaks]
    plain = _figure(_element(alone.plane(0, peaks[0], SIDE), "the image"), f"the image{where[0]}")
    drawn = [one.named(volume.plane(0, peak, SIDE)) for one, volume, peak in zip(maps, volumes, peaks, strict=True)]
    return plain + "".join(one.figure(image, text) for one, image, text in zip(maps, drawn, where, strict=True))


def _alone(shown: _Map) -> str:
    """A map without its image; an empty box for one that shows nothing."""
    heat, position = _flat(shown.heat)
    if shown.reason is not None:
        width, height = _shown_size(heat.shape[1], heat.shape[0])
        return shown.figure(f'<div style="{_BOX_STYLE.format(width, height)}"></div>')
    drawn = Pillow.fromarray(colourise(heat)) if not shown.style.signed else tint(ones_like(heat)[None], heat, 1.0)
    if max(drawn.size) > SIDE:
        drawn = drawn.resize(_shown_size(*drawn.size), Pillow.Resampling.BOX)
    return shown.figure(shown.named(drawn), position)


def _flat(heat: Tensor) -> tuple[Tensor, str]:
    """A map (H, W), or the slice of a volume (D, H, W) through its peak, and a line with that slice's index."""
    if heat.ndim == 2:
        return heat, ""
    peak = int(heat.abs().flatten(1).amax(dim=1).argmax())
    return heat[peak], f"<br>slice {peak} of {len(heat)}"


def _figure(drawn: str, text: str) -> str:
    return f'<div style="{_FIGURE_STYLE}">{drawn}<div style="{_SMALL_STYLE}">{text}</div></div>'


def _element(image: Pillow.Image, text: str) -> str:
    """An image as an element whose longer side is shown at 256 pixels."""
    width, height = _shown_size(*image.size)
    return f'<img alt="{escape(text)}" style="{_IMAGE_STYLE.format(width, height)}" src="{data_uri(image)}">'


def _shown_size(width: int, height: int) -> tuple[int, int]:
    """Width and height at which an image is shown."""
    share = SIDE / max(width, height)
    return max(1, round(width * share)), max(1, round(height * share))
