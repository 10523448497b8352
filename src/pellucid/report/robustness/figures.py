"""Change against budget: a panel for each change, and in it a line for each method, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pellucid.report.evaluation.figures.drawing import BAR, INK, LINE, SOFT, Drawn, drawn, label, panels
from pellucid.report.evaluation.numbers import rounded
from pellucid.report.robustness.wording import level_of
from pellucid.robustness.result import HIT, MOVED, Level, Robustness
from pellucid.statistics import Interval

METHODS = 8
"""The most methods of a figure; the tables have all."""
_COLOURS = (BAR, "#b3541e", INK, SOFT, "#2f7d4f", "#7a3f8c", "#8a6100", "#a02c48")
_SHAPES = "osD^vP*X"
_ENTRY, _ROW = 1.7, 0.19
"""What an entry of the legend takes of the width, and a row of it of the height, in inches."""
_ALL = "all methods"


@dataclass(frozen=True)
class _Curve:
    """A method's figures by level, and a figure to compare them with, such as that before any change."""

    method: str
    points: Sequence[tuple[float, Interval]]
    reference: Interval | None = None


def answers(found: Robustness) -> Drawn | None:
    """How many answers move, by change and budget. Of a change of the image alone it is the same for all methods."""
    curves = {change: _merged(_curves(found, change, MOVED)) for change in found.changes}
    caption = (
        f"Answers that moved, as a share of the images, by change and budget; with 95 % intervals by {found.unit.noun}."
    )
    return _drawn("answers", curves, caption, "share of answers that moved")


def likeness(found: Robustness, label: str) -> Drawn | None:
    """How much the maps before and after are alike, by a comparison, beside maps of different images."""
    curves = {
        change: [
            _Curve(one.method, one.points, found.between[one.method].get(label))
            for one in _curves(found, change, label)
        ]
        for change in found.changes
    }
    caption = (
        f"{label.upper()} of the maps before and after, by change and budget; with 95 % "
        f"intervals by {found.unit.noun}. The dotted line of the same colour is that between maps of different "
        "images with the same predicted class: a line that starts near it tells nothing of robustness."
    )
    return _drawn("maps", curves, caption, f"{label}, before and after")


def hits(found: Robustness) -> Drawn | None:
    """How many maps hit the masks, by change and budget, beside those before any change."""
    curves = {
        change: [
            _Curve(one.method, one.points, found.clean[one.method].get(HIT)) for one in _curves(found, change, HIT)
        ]
        for change in found.changes
    }
    caption = (
        "Hit rate: the share of maps whose peak is in the mask of the predicted class, by change and budget; with 95 % "
        f"intervals by {found.unit.noun}. The dotted line of the same colour is the hit rate before any change."
    )
    return _drawn("hits", curves, caption, "hit rate")


def _curves(found: Robustness, change: str, name: str) -> list[_Curve]:
    each = [(method, found.at(method, change)) for method in found.methods[:METHODS]]
    curves = [_Curve(method, _points(levels, name)) for method, levels in each]
    return [one for one in curves if one.points]


def _points(levels: Sequence[Level], name: str) -> list[tuple[float, Interval]]:
    points = [(one.level, one.figures[name]) for one in levels]
    return [(level, figure) for level, figure in points if math.isfinite(figure.estimate)]


def _merged(curves: Sequence[_Curve]) -> list[_Curve]:
    """One curve in place of those that are equal."""
    alike = [one for one in curves if one.points == curves[0].points]
    first = [_Curve(_ALL if len(alike) == len(curves) else curves[0].method, curves[0].points)] if curves else []
    return [*first, *(one for one in curves if one.points != curves[0].points)]


def _drawn(name: str, curves: dict[str, list[_Curve]], caption: str, upwards: str) -> Drawn | None:
    shown = {change: each for change, each in curves.items() if each}
    if not shown:
        return None
    methods = list(dict.fromkeys(one.method for each in shown.values() for one in each))
    alt = "; ".join(f"{change}, {one.method}: {_in_words(one)}" for change, each in shown.items() for one in each)

    def draw(width: float) -> Figure:
        columns = max(1, int(width // _ENTRY))
        above = _ROW * math.ceil(len(methods) / columns) + 0.06
        figure, axes = panels(list(shown), "budget, from none to the largest", upwards, width, above)
        for each, (_, own) in zip(axes, shown.items(), strict=True):
            _panel(each, own, methods)
        _legend(figure, methods, columns)
        return figure

    return drawn(name, f"{upwards}. {alt}.", caption, draw)


def _in_words(curve: _Curve) -> str:
    return ", ".join(f"{rounded(figure.estimate)} at {level_of(level)}" for level, figure in curve.points)


def _panel(axes: Axes, curves: Sequence[_Curve], methods: Sequence[str]) -> None:
    for one in curves:
        number = methods.index(one.method)
        colour, shape = _COLOURS[number % len(_COLOURS)], _SHAPES[number % len(_SHAPES)]
        stated = [(level, figure.low, figure.high) for level, figure in one.points if figure.withheld is None]
        if stated:
            levels, lows, highs = zip(*stated, strict=True)
            axes.vlines(levels, lows, highs, colors=colour, linewidths=0.8, alpha=0.6)
        points = [(level, figure.estimate) for level, figure in one.points]
        axes.plot(*zip(*points, strict=True), color=colour, marker=shape, markersize=3.5, linewidth=1)
        if one.reference is not None and math.isfinite(one.reference.estimate):
            axes.axhline(one.reference.estimate, color=colour, linestyle=":", linewidth=1)
    _frame(axes, [level for one in curves for level, _ in one.points], _lowest(curves))


def _frame(axes: Axes, levels: Sequence[float], lowest: float) -> None:
    most = max(levels) or 1.0
    axes.set_xlim(-0.04 * most, 1.06 * most)
    axes.set_xticks([0, most], ["0", level_of(most)])
    axes.set_ylim(min(0.0, lowest) - 0.02, 1.02)
    axes.axhline(0, color=LINE, linewidth=0.6, zorder=0)


def _lowest(curves: Sequence[_Curve]) -> float:
    """The lowest value that is drawn."""
    figures = [figure for one in curves for _, figure in one.points]
    return min((value for one in figures for value in (one.estimate, one.low) if math.isfinite(value)), default=0.0)


def _legend(figure: Figure, methods: Sequence[str], columns: int) -> None:
    handles = [
        Line2D([], [], color=_COLOURS[number % len(_COLOURS)], marker=_SHAPES[number % len(_SHAPES)], markersize=4)
        for number in range(len(methods))
    ]
    names = [label(method, 22) for method in methods]
    figure.legend(handles, names, loc="upper left", ncols=columns, frameon=False, borderaxespad=0.2, handlelength=1.6)
