"""Tests of the maps apart from findings: images without one, negative controls, and randomisation gates."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, rounded
from pellucid.report.evaluation.tables import COLUMNS, PRIOR, Cell, Line, Table, cell, cut, matrix
from pellucid.report.evaluation.wording import about_metric, name, sees_images, sentence
from pellucid.statistics import Interval

HEAT = {
    "area": "Share of the image at 0.5 or above (false-positive area)",
    "in the mean mask": "Share of the heat where findings usually are",
    "at the border": "Share of the heat at the border (outer tenth of each side)",
}


EVEN = "an even map"
_EVEN_NOTE = (
    "An even map knows nothing: a part of the image has the share of the heat that it has of the image, and of values "
    "that are spread evenly from 0 to 1 half are 0.5 or above. It is computed, not measured."
)


def heat_tables(evaluation: Evaluation) -> list[Table]:
    """Where the heat goes on images without a finding, beside what a map that knows nothing would give."""
    whats = list(dict.fromkeys(what for each in evaluation.heat.values() for what in each))
    return [_heat_table(evaluation, whats[start : start + COLUMNS]) for start in range(0, len(whats), COLUMNS)]


def _heat_table(evaluation: Evaluation, whats: Sequence[str]) -> Table:
    priors = _priors(evaluation)
    lines = [
        Line(
            name(method),
            [_heat(method, each.get(what), evaluation.unit) for what in whats],
            PRIOR if method in priors else "",
        )
        for method, each in evaluation.heat.items()
    ]
    even = [Cell(rounded(evaluation.even[what]) if what in evaluation.even else NONE) for what in whats]
    own = [Line(sentence(EVEN), even, "reference")] if evaluation.even else []
    notes = (_EVEN_NOTE,) if own else ()
    heads = [HEAT.get(what, what) for what in whats]
    return cut(Table("Where the heat goes on images without a finding", "Method", heads, [*own, *lines], notes))


def _heat(method: str, found: Interval | None, unit: Unit) -> Cell:
    """A share with its interval; of a prior that never sees the image the share alone, since it hardly varies."""
    if found is None or found.withheld is None or sees_images(method) or found.estimate != found.estimate:
        return cell(found, unit, "image")
    return Cell(rounded(found.estimate), "(nearly) the same for every image")


def gate_tables(evaluation: Evaluation) -> list[Table]:
    """What is left of the maps when the network's weights are random."""
    return matrix("Maps of a network with random weights", "Method", evaluation.gates, evaluation.unit)


def gate_notes(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What each randomisation metric is."""
    names = dict.fromkeys(metric for each in evaluation.gates.values() for metric in each)
    return [(metric, about_metric(metric)) for metric in names if about_metric(metric)]


def _priors(evaluation: Evaluation) -> list[str]:
    return [row.method for row in evaluation.rows if row.is_prior]
