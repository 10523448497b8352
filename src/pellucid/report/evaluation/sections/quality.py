"""How good the model is on these cases: a map explains a model, be it right or wrong."""

from __future__ import annotations

from markupsafe import Markup

from pellucid.evaluation.evaluation import Calibration, ClassQuality, Evaluation
from pellucid.report.evaluation.numbers import NONE, rounded
from pellucid.report.evaluation.tables import Cell, Line, Table, cell, cut
from pellucid.report.evaluation.wording import listed, name, sentence

COLUMNS = (
    "AUC (95 % interval)",
    "Images with the class",
    "Images without it",
    "Brier score",
    "Calibration error",
)
_NOTES = (
    "AUC: the area under the ROC curve of the class against all others. 0.5 is chance.",
    "Brier score: the mean of (probability − label)². Calibration error: the mean distance of the bins' means from the "
    "share that has the class, weighted by the images. Both are lower for a better calibrated model, and have no "
    "interval here.",
)
CHANCE = 0.5
NAMES = 8
"""The most classes that a sentence names."""


def quality_table(evaluation: Evaluation) -> Table:
    """The area under the ROC curve and the calibration of each class."""
    lines = [Line(name(one.name), _cells(one)) for one in evaluation.quality]
    return cut(Table("The model on the images that were analysed", "Class", COLUMNS, lines, _NOTES))


def _cells(one: ClassQuality) -> list[Cell]:
    auc = Cell("not stated: all or no images have the class") if one.auc is None else cell(one.auc, "image")
    return [auc, Cell(str(one.positive)), Cell(str(one.negative)), *_calibrated(one.calibration)]


def _calibrated(found: Calibration | None) -> list[Cell]:
    if found is None:
        return [Cell(NONE), Cell(NONE)]
    return [Cell(rounded(found.brier)), Cell(rounded(found.error))]


def quality_words(evaluation: Evaluation) -> list[Markup]:
    """Sentences on what the model is shown to tell apart."""
    known = [one for one in evaluation.quality if one.auc is not None and one.auc.withheld is None]
    above = [name(one.name) for one in known if one.auc is not None and one.auc.low > CHANCE]
    others = [name(one.name) for one in evaluation.quality if name(one.name) not in above]
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
    return told
