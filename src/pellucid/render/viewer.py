"""An interactive viewer of explanations for notebooks, with ipywidgets: image, method, class, opacity, slice."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

from PIL import Image as Pillow

from pellucid.core.caption import caption, explained_by, explained_class
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.optional import OptionalPackage
from pellucid.core.shown import shown_maps, why_empty
from pellucid.core.style import Style
from pellucid.errors import OptionError
from pellucid.render.canvas import Canvas, canvases
from pellucid.render.notebook import checked
from pellucid.render.overlay import ImagesLike
from pellucid.render.volume import Drawing

_IPYWIDGETS = OptionalPackage("ipywidgets", "notebook")
_SIDE = 512
"""Length in pixels of the longer side of what is shown."""


@on_cpu_by_default
def viewer(
    explanations: Explanation | Sequence[Explanation],
    images: ImagesLike | None = None,
    colormap: str = "jet",
    signed: bool = False,
) -> Any:
    """View explanations in a notebook, with controls for the image, method, class, opacity and slice.

    ``explanations`` and ``images`` are those of ``show``. Returns an ``ipywidgets.VBox``; a control is there where
    there is something to choose. Choosing a map shows the slice through its peak. It needs a running kernel.

    Raises:
        MissingPackageError: ipywidgets is not installed: ``pip install 'pellucid[notebook]'``.
        OptionError: no images were given, and the explanations have none; or as for ``show``.
        ShapeError: as for ``show``.
    """
    style = Style(Style.alpha, colormap, signed)
    listed = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    checked(listed)
    under = canvases(listed[0], images)
    if under is None:
        raise OptionError(
            "the viewer was asked for without images; give those that were explained, pellucid.viewer(found, images)"
        )
    return _Viewer(listed, under, style, _IPYWIDGETS.load("the viewer")).box


class _Viewer:
    """The controls, and the image that they change."""

    def __init__(
        self, explanations: Sequence[Explanation], under: Sequence[Sequence[Canvas]], style: Style, widgets: Any
    ) -> None:
        self.explanations, self.under, self.style = explanations, under, style
        self.volume: Drawing | None = None
        numbered = [(str(number), number) for number in range(len(under))]
        methods = [(explained_by(one.method, one.layers), index) for index, one in enumerate(explanations)]
        self.image = widgets.Dropdown(options=numbered, description="image")
        self.method = widgets.Dropdown(options=methods, description="method")
        self.column = widgets.Dropdown(options=self._classes(), description="class")
        self.alpha = widgets.FloatSlider(style.alpha, min=0, max=1, step=0.05, description="opacity")
        self.slice = widgets.IntSlider(0, min=0, max=self._depth() - 1, description="slice")
        self.drawn = widgets.Image(format="png", layout={"max_width": "100%", "align_self": "flex-start"})
        self.caption = widgets.HTML()
        self._show_peak()
        for control in (self.image, self.method):
            control.observe(self._list_classes, "value")
        self.column.observe(self._show_peak, "value")
        for control in (self.alpha, self.slice):
            control.observe(self._draw, "value")
        chosen = [one for one in (self.image, self.method) if len(one.options) > 1]
        many = any(one.targets.shape[1] > 1 for one in explanations)
        controls = [*chosen, *([self.column] if many else []), self.alpha]
        controls += [self.slice] if self._depth() > 1 else []
        self.box = widgets.VBox([*controls, self.drawn, self.caption])

    @property
    def explanation(self) -> Explanation:
        """The explanation of the chosen image by the chosen method."""
        chosen: int = self.method.value
        return self.explanations[chosen].one(self.image.value)

    def _classes(self) -> list[tuple[str, int]]:
        """The classes that are explained of the chosen image, with their probabilities, and their columns."""
        found = self.explanation
        indices = found.targets[0].tolist()
        measures = ["" if index < 0 else f", {found.reading(0, index).measure}" for index in indices]
        texts = [f"{explained_class(found, index)}{measure}" for index, measure in zip(indices, measures, strict=True)]
        return [(text, column) for column, text in enumerate(texts)]

    def _depth(self) -> int:
        """The number of slices, or of images of a sequence, of the chosen image."""
        own = self.under[self.image.value]
        return own[0].slices or len(own)

    def _list_classes(self, _: object = None) -> None:
        """Another image or method: its classes are listed, and the same one stays chosen where it is among them."""
        column = min(self.column.value, self.explanation.targets.shape[1] - 1)
        with self.column.hold_trait_notifications():
            self.column.options = self._classes()
            self.column.value = column
        self._show_peak()

    def _show_peak(self, _: object = None) -> None:
        """Another map: it is drawn, of a volume or sequence where its peak is."""
        own, peak = self.under[self.image.value], 0
        heat = shown_maps(self.explanation.one(0, self.column.value), self.style.signed)[0, 0].cpu()
        if own[0].slices:
            self.volume = own[0].volume(heat, self.style)
            peak = self.volume.peak[0] if self.volume.peak else own[0].slices // 2
        elif len(own) > 1:
            peak = int(heat.abs().flatten(1).amax(dim=1).argmax())
        self.slice.unobserve(self._draw, "value")
        self.slice.max, self.slice.value = self._depth() - 1, peak
        self.slice.observe(self._draw, "value")
        self._draw()

    def _draw(self, _: object = None) -> None:
        """Draw what is chosen."""
        found, column, style = self.explanation, self.column.value, replace(self.style, alpha=self.alpha.value)
        found = found.member(self.slice.value) if found.is_sequence else found
        reason = why_empty(found, style.signed)[0][column]
        if self.volume is not None:
            drawn = replace(self.volume, style=style).plane(0, self.slice.value, _SIDE)
        else:
            heat = shown_maps(found.one(0, column), style.signed)[0, 0].cpu()
            drawn = self.under[self.image.value][self.slice.value].flat(heat, style, reason is not None)
        self.drawn.value = _png(drawn)
        self.drawn.layout.width = f"{round(_SIDE * drawn.width / max(drawn.size))}px"
        self.caption.value = escape(caption(found, 0, column, reason))


def _png(image: Pillow.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
