"""The primary endpoint of methods and priors, with intervals, in one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.evaluation.evaluation import Evaluation, Row
from pellucid.report.evaluation.figures.drawing import BAR, INK, LINE, SOFT, Drawn, drawn, label
from pellucid.report.evaluation.numbers import in_words, of
from pellucid.report.evaluation.sections.verdicts import primary_of
from pellucid.statistics import Interval

MOST = 60
"""The most rows; the table has all."""
_PLAIN, _STACKED = 0.27, 0.44
"""The heights of a row in inches: with its text beside the interval, and above it."""
_BESIDE = 5.0
"""The width in inches from which texts stand beside the intervals."""


@dataclass(frozen=True)
class _Mark:
    """How a row is drawn: the shape tells methods from priors, not the colour alone."""

    shape: str
    fill: str
    colour: str
    dashes: Any
    """A line style of matplotlib: a name, or an offset with lengths."""


_METHOD, _PRIOR = _Mark("s", BAR, BAR, "-"), _Mark("D", "white", SOFT, (0, (3, 1.5)))


def forest(evaluation: Evaluation) -> Drawn | None:
    """A row for each method, and below for each prior; None where nothing has a value."""
    found = [(row, primary_of(evaluation, row)) for row in evaluation.rows]
    rows = [(row, value) for row, value in found if value is not None]
    ordered = sorted(rows, key=lambda one: one[0].is_prior)[:MOST]
    if not ordered:
        return None
    unit = evaluation.unit
    alt = "; ".join(
        f"{row.method}{' (prior)' if row.is_prior else ''}: {in_words(value, unit)}" for row, value in ordered
    )
    caption = (
        f"Primary endpoint, {evaluation.primary}: mean and 95 % interval. Filled squares are methods, open diamonds "
        f"with dashed lines are priors. The vertical line is at {evaluation.plan.prior}, the named prior. "
        "Intervals that overlap do not show that two rows are alike, since the same findings are compared."
    )
    return drawn(
        "primary",
        f"{evaluation.primary}, mean and 95 % interval. {alt}.",
        caption,
        lambda width: _figure(evaluation, ordered, width),
    )


def _figure(evaluation: Evaluation, rows: list[tuple[Row, Interval]], width: float) -> Figure:
    is_beside = width >= _BESIDE
    height = _PLAIN if is_beside else _STACKED
    figure = Figure(figsize=(width, height * len(rows) + 0.75))
    whole = figure.get_figheight()
    left, span = (0.27, 0.46) if is_beside else (0.04, 0.92)
    axes = figure.add_axes((left, 0.55 / whole, span, (whole - 0.65) / whole))
    for index, (row, found) in enumerate(rows):
        _row(axes, len(rows) - 1 - index, row, found)
        numbers = in_words(found, evaluation.unit) if found.withheld is None else "not stated"
        _texts(axes, len(rows) - 1 - index, row, numbers, is_beside)
    _frame(axes, evaluation, rows)
    return figure


def _row(axes: Axes, level: int, row: Row, found: Interval) -> None:
    mark = _PRIOR if row.is_prior else _METHOD
    if found.withheld is None:
        axes.plot([found.low, found.high], [level, level], color=mark.colour, linestyle=mark.dashes)
        axes.plot([found.estimate], [level], mark.shape, color=mark.colour, markerfacecolor=mark.fill, markersize=5)


def _texts(axes: Axes, level: int, row: Row, numbers: str, is_beside: bool) -> None:
    own, colour = label(row.method, 26), SOFT if row.is_prior else INK
    at = axes.get_yaxis_transform()
    if is_beside:
        axes.text(-0.03, level, own, ha="right", va="center", transform=at, color=colour)
        axes.text(1.03, level, numbers, ha="left", va="center", transform=at, color=colour)
    else:
        axes.text(0, level + 0.38, own, ha="left", va="center", transform=at, color=colour)
        axes.text(1, level + 0.38, numbers, ha="right", va="center", transform=at, color=colour)


def _frame(axes: Axes, evaluation: Evaluation, rows: list[tuple[Row, Interval]]) -> None:
    known = [value for _, found in rows if found.withheld is None for value in (found.low, found.high)]
    if not known or 0 <= min(known) <= max(known) <= 1:
        axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    for row, found in rows:
        if row.method == evaluation.plan.prior and row.is_prior and found.withheld is None:
            axes.axvline(found.estimate, color=SOFT, linewidth=0.8, zorder=0)
    methods = sum(not row.is_prior for row, _ in rows)
    if 0 < methods < len(rows):
        axes.axhline(len(rows) - methods - 0.5 + (0.18 if len(rows) else 0), color=LINE, linewidth=0.8, zorder=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    counts = {of(found, evaluation.unit) for _, found in rows}
    ending = f" ({next(iter(counts))})" if len(counts) == 1 else ""
    axes.set_xlabel(f"{label(evaluation.primary)}{ending}")
