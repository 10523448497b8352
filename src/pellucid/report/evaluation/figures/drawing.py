"""What all figures share: their look, their sizes, and how they become files. No state of pyplot is used."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pellucid.render.text import drawable

WIDE, NARROW = 7.2, 3.9
"""Widths in inches: of paper and a desk, and of a phone, on which a wide figure's letters would be too small."""
INK, SOFT, LINE, BAR = "#1d2a33", "#5b6b76", "#c3ccd3", "#1d5f86"
_TEXT = 8.5
_STYLE = {
    "font.size": _TEXT,
    "text.parse_math": False,  # a name with dollar signs is a name
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.4,
    "svg.hashsalt": "pellucid",  # equal figures are equal files
}
_PANEL, _WIDEST = 1.7, 2.1
"""The least width of a panel in inches, and the largest."""
_LEFT, _BELOW, _GAP, _ROW = 0.62, 0.48, 0.42, 0.54
"""What the labels of panels take of a figure, and the space between columns and rows, in inches."""
_DPI = 150
_LONGEST = 30


@dataclass(frozen=True)
class Drawn:
    """A figure as files: for wide and narrow screens as SVG, and as PNG. ``alt`` states its numbers."""

    name: str
    alt: str
    caption: str
    is_wide: bool
    wide: bytes
    narrow: bytes
    png: bytes

    @property
    def files(self) -> dict[str, bytes]:
        """The files for other documents."""
        return {f"{self.name}.svg": self.wide, f"{self.name}.png": self.png}


def drawn(name: str, alt: str, caption: str, draw: Callable[[float], Figure]) -> Drawn:
    """Draw a figure in both widths. ``draw`` makes it for a width in inches."""
    with matplotlib.style.context(["default", _STYLE], after_reset=True):  # not as the user's own settings would
        wide = draw(WIDE)
        is_wide = wide.get_figwidth() > WIDE * 0.7
        return Drawn(name, alt, caption, is_wide, _saved(wide, "svg"), _saved(draw(NARROW), "svg"), _saved(wide, "png"))


def _saved(figure: Figure, kind: str) -> bytes:
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    dates = {"Date": None} if kind == "svg" else None
    figure.savefig(file, format=kind, dpi=_DPI, metadata=dates, facecolor="white")
    return file.getvalue()


def label(name: str, longest: int = _LONGEST) -> str:
    """A name as a figure can show it: short, and in letters that its font has."""
    text = drawable(name)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def panels(
    titles: Sequence[str], across: str, upwards: str, width: float, above: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A square panel for each title, as many beside each other as the width has room for, with the axes' labels.

    ``above`` is the height in inches that stays free for a legend.
    """
    columns = max(1, min(len(titles), int(width // _PANEL)))
    rows = math.ceil(len(titles) / columns)
    own = min((width - _LEFT - _GAP / 3 + _GAP) / columns, _WIDEST) - _GAP
    size = (_LEFT + columns * (own + _GAP) - _GAP * 2 / 3, _BELOW + rows * (own + _ROW) - _ROW + 0.25 + above)
    figure = Figure(figsize=size)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(_LEFT / size[0], _BELOW / size[1], 1 - _GAP / 3 / size[0], 1 - (0.25 + above) / size[1])
    figure.subplots_adjust(wspace=_GAP / own, hspace=_ROW / own)
    figure.supxlabel(across, y=0.06 / size[1], va="bottom", fontsize=_TEXT)
    figure.supylabel(upwards, x=0.06 / size[0], ha="left", fontsize=_TEXT)
    for axes in grid[len(titles) :]:
        axes.set_axis_off()
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(label(title, 22), fontsize=_TEXT, loc="left")
        axes.set_box_aspect(1)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    return figure, list(grid[: len(titles)])
