"""How good the model is on these cases: a map explains a model, be it right or wrong."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pellucid.evaluation.evaluation import Calibration, Called, ClassQuality, Confusion, Evaluation
from pellucid.evaluation.judging.remarks import TRAINED_ON
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, of, rounded
from pellucid.report.evaluation.tables import COLUMNS as WIDTH
from pellucid.report.evaluation.tables import Cell, Line, Table, cell, cut
from pellucid.report.evaluation.wording import listed, name, sentence
from pellucid.statistics import Interval

COLUMNS = (
    "AUC (95 % interval)",
    "Images with the class",
    "Images without it",
    "Brier score",
    "Calibration error",
)
_NOTES = (
    "AUC: the area under the ROC curve of the class against all others. 0.5 is chance. "
    f"{TRAINED_ON} If it was, the AUC is higher than on new images.",
    "Brier score: the mean of (probability − label)². Calibration error: the mean distance of the bins' means from the "
    "share that has the class, weighted by the images. Both are lower for a better calibrated model, and have no "
    "interval here.",
)
CHANCE = 0.5
CALLED = ("Present, detected", "Present, not detected", "Absent, detected", "Absent, not detected")
_CALLED_NOTE = "A class is detected where its probability is above 0.5. That threshold was not chosen for this model."
_CONFUSED_NOTE = (
    "Each image counts under its annotated class, in the column of the class that the model gives the highest "
    "probability. An image with several annotated classes counts under each."
)
MOST = 12
"""The most predicted classes with a column of their own: those with the most images."""
NAMES = 8
"""The most classes that a sentence names."""


def quality_table(evaluation: Evaluation) -> Table:
    """The area under the ROC curve and the calibration of each class."""
    lines = [Line(name(one.name), _cells(one, evaluation.unit)) for one in evaluation.quality]
    return cut(Table("The model on the images that were analysed", "Class", COLUMNS, lines, _NOTES))


def _cells(one: ClassQuality, unit: Unit) -> list[Cell]:
    return [_auc(one.auc, unit), Cell(str(one.positive)), Cell(str(one.negative)), *_calibrated(one.calibration)]


def _auc(found: Interval | None, unit: Unit) -> Cell:
    if found is None:
        return Cell("not stated: all or no images have the class")
    if found.estimate not in (0.0, 1.0):
        return cell(found, unit, "image")
    order = "higher" if found.estimate else "lower"
    form = "{}, without an interval: each image with the class has a {} probability than each without it"
    return Cell(form.format(rounded(found.estimate), order), of(found, unit, "image"))


def _calibrated(found: Calibration | None) -> list[Cell]:
    if found is None:
        return [Cell(NONE), Cell(NONE)]
    return [Cell(rounded(found.brier)), Cell(rounded(found.error))]


def called_tables(evaluation: Evaluation) -> list[Table]:
    """What the model calls, in numbers of images: an area under a curve says nothing of the calls at a threshold."""
    each = [(one.name, one.called) for one in evaluation.quality if one.called is not None]
    lines = [Line(name(own), _called(called)) for own, called in each]
    of_classes = [cut(Table("Images in which the model detects a class", "Class", CALLED, lines, (_CALLED_NOTE,)))]
    return [*(of_classes if lines else []), *(_confused(evaluation.confusion) if evaluation.confusion else [])]


def _called(found: Called) -> list[Cell]:
    each = (found.present_called, found.present_missed, found.absent_called, found.absent_not_called)
    return [Cell(str(count)) for count in each]


def _confused(found: Confusion) -> list[Table]:
    """Annotated against predicted classes, a few columns a table; those that are predicted least are one column."""
    totals = [sum(row[column] for row in found.counts) for column in range(len(found.predicted))]
    own = sorted(sorted(range(len(totals)), key=lambda column: -totals[column])[:MOST])
    rest = [column for column in range(len(totals)) if column not in own]
    columns = [(found.predicted[column], [column]) for column in own]
    columns += [(f"{len(rest)} other classes", rest)] if rest else []
    parts = [columns[start : start + WIDTH] for start in range(0, len(columns), WIDTH)]
    return [_confused_part(found, part, is_last=part is parts[-1]) for part in parts]


def _confused_part(found: Confusion, part: Sequence[tuple[str, Sequence[int]]], *, is_last: bool) -> Table:
    lines = [
        Line(name(annotated), [Cell(str(sum(counts[one] for one in columns))) for _, columns in part])
        for annotated, counts in zip(found.annotated, found.counts, strict=True)
    ]
    heads = [f"Predicted: {head}" for head, _ in part]
    notes = (_CONFUSED_NOTE,) if is_last else ()
    return cut(Table("Images by annotated and predicted class", "Annotated class", heads, lines, notes))


def quality_words(evaluation: Evaluation) -> list[Markup]:
    """Sentences on what the model is shown to tell apart."""
    known = [one for one in evaluation.quality if one.auc is not None and one.auc.withheld is None]
    above = [name(one.name) for one in known if one.auc is not None and one.auc.low > CHANCE]
    others = [name(one.name) for one in known if name(one.name) not in above]
    unknown = [name(one.name) for one in evaluation.quality if one not in known]
    told = []
    if above:
        form = (
            "The interval of its AUC is above 0.5, which is chance, for {}; that is a low bar, and does not say that "
        )
        told.append(sentence(form + "the model is good enough for any use.", listed(above, NAMES)))
    if others:
        form = (
            "For {} the model is not shown to do better than chance, so its maps explain an output that is not known "
        )
        told.append(sentence(form + "to be right.", listed(others, NAMES)))
    if unknown:
        form = (
            "For {} the AUC has no interval, so that how far above chance the model is cannot be said: see the counts."
        )
        told.append(sentence(form, listed(unknown, NAMES)))
    return told
