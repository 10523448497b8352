"""Curves: ROC and calibration of the model by class, and the overlap of maps and findings by threshold."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.evaluation.evaluation import Calibration, Evaluation
from pellucid.evaluation.measured import THRESHOLDS
from pellucid.report.evaluation.figures.drawing import BAR, LINE, SOFT, Drawn, drawn, panels
from pellucid.report.evaluation.numbers import in_words, rounded
from pellucid.statistics import wilson

PANELS = 12
"""The most panels of a figure; the tables have all."""
OVERLAPS = 24
_DASHED = (0, (4, 2))


def roc(evaluation: Evaluation) -> Drawn | None:
    """The ROC curve of each class; None where there is none."""
    classes = [one for one in evaluation.quality if one.roc][:PANELS]
    if not classes:
        return None
    alt = "; ".join(
        f"{one.name}: AUC {in_words(one.auc, evaluation.unit) if one.auc is not None else 'not stated'}, "
        f"{one.positive} images with the class and {one.negative} without"
        for one in classes
    )
    caption = "ROC curves of the model: sensitivity (upwards) by 1 − specificity. The dashed diagonal is chance."

    def draw(width: float) -> Figure:
        figure, axes = panels([one.name for one in classes], "1 − specificity", "sensitivity", width)
        for each, one in zip(axes, classes, strict=True):
            each.plot(*zip(*one.roc, strict=True), color=BAR)
            each.plot([0, 1], [0, 1], color=SOFT, linestyle=_DASHED, linewidth=0.8)
        return figure

    return drawn("roc", f"ROC curves. {alt}.", caption, draw)


def calibration(evaluation: Evaluation) -> Drawn | None:
    """The share that has a class by the predicted probability; None where it is not known."""
    known = [(one, one.calibration) for one in evaluation.quality if one.calibration is not None]
    known = [(one, found) for one, found in known if any(found.counts)][:PANELS]
    if not known:
        return None
    alt = "; ".join(f"{one.name}: {_bins(found)}" for one, found in known)
    caption = (
        "Calibration: the share of images that have the class, by predicted probability. Vertical lines are Wilson's "
        "95 % intervals of each bin, as if every image were of another patient. On the dashed diagonal, probabilities "
        "are shares."
    )

    def draw(width: float) -> Figure:
        figure, axes = panels(
            [one.name for one, _ in known], "predicted probability", "share that has the class", width
        )
        for each, (_, found) in zip(axes, known, strict=True):
            _calibrated(each, found)
        return figure

    return drawn("calibration", f"Calibration. {alt}.", caption, draw)


def _bins(found: Calibration) -> str:
    each = zip(found.predicted, found.observed, found.counts, strict=True)
    return ", ".join(f"{rounded(share)} at {rounded(p)} ({count} images)" for p, share, count in each if count)


def _calibrated(axes: Axes, found: Calibration) -> None:
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle=_DASHED, linewidth=0.8)
    for p, share, count in zip(found.predicted, found.observed, found.counts, strict=True):
        if count:
            axes.plot([p, p], wilson(round(share * count), count), color=BAR, linewidth=0.9)
            axes.plot([p], [share], marker="o", markersize=3.5, color=BAR)


def overlap(evaluation: Evaluation) -> Drawn | None:
    """The mean overlap by threshold: a panel for each method, with the prior of the plan in it."""
    priors = {row.method for row in evaluation.rows if row.is_prior}
    methods = [method for method in evaluation.curves if method not in priors][:OVERLAPS] or list(evaluation.curves)[:1]
    if not methods:
        return None
    prior = evaluation.plan.prior if evaluation.plan.prior in evaluation.curves else None
    shown = dict.fromkeys([*methods, *([prior] if prior else [])])
    alt = "; ".join(f"{method}: {_highest(evaluation.curves[method])}" for method in shown)
    caption = (
        "Mean overlap (IoU) of map and finding by the threshold of the map. Solid: the method. "
        + (f"Dashed: {prior}, the named prior. " if prior else "")
        + "The highest point of a curve was found on the same findings and is too good: see the tuned thresholds below."
    )

    def draw(width: float) -> Figure:
        figure, axes = panels(methods, "threshold", "mean overlap (IoU)", width)
        for each, method in zip(axes, methods, strict=True):
            if prior:
                each.plot(THRESHOLDS, evaluation.curves[prior], color=SOFT, linestyle=_DASHED)
            each.plot(THRESHOLDS, evaluation.curves[method], color=BAR)
            each.axhline(0, color=LINE, linewidth=0.6)
        return figure

    return drawn("overlap", f"Mean overlap by threshold. {alt}.", caption, draw)


def _highest(curve: Iterable[float]) -> str:
    values = [float(value) for value in curve]
    known = [(value, threshold) for value, threshold in zip(values, THRESHOLDS, strict=True) if value == value]
    if not known:
        return "no values"
    value, threshold = max(known)
    return f"highest {rounded(value)} at {threshold:g}"
