"""Negative controls: what comes out where no map can know anything, and each method against its own control."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from pellucid.evaluation.evaluation import Control, Evaluation, Spread
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, in_words, of, rounded
from pellucid.report.evaluation.tables import PRIOR, Cell, Line, Table, cell, cut
from pellucid.report.evaluation.wording import listed, name, sentence
from pellucid.statistics import Interval

MEAN = "Mean (95 % interval)"
AGAINST = "Method − control (95 % interval)"
SPREAD = "Mean of the shuffles (lowest to highest)"
_DIFFERENCE = (
    "Method − control: each method on the findings themselves less the same method here, finding by finding, positive "
    "where it is better on the findings themselves. Above 0 says that its maps depend on what the control takes away, "
    "not that they are better than a prior. The intervals are not adjusted for their number."
)
_SHUFFLES = (
    "Methods were shuffled {} times: the difference is to the mean over the shuffles. The first column, and what comes "
    "out, are of the first shuffle, in which the priors were scored as well."
)


@dataclass(frozen=True)
class Told:
    """A negative control with its result in words; ``tag`` is the result in short."""

    name: str
    what: str
    expected: str
    tag: str
    result: Markup
    own: Markup
    table: Table


def controls(evaluation: Evaluation) -> list[Told]:
    """The negative controls: where no method can know anything, none should come out."""
    return [
        Told(one.name, one.what, one.expected, *_result(one), _own(one), _control_table(evaluation, one))
        for one in evaluation.controls
    ]


def _result(control: Control) -> tuple[str, Markup]:
    if control.no_claim is not None:
        return "not tested", sentence("Nothing could be tested here: {}.", control.no_claim)
    if not control.shown:
        return "none comes out", sentence("No method comes out better than the priors, or as good as one.")
    form = "{} {} out better than the priors, or as good as one, where no map can know the finding."
    return "look closer", sentence(
        form, listed(map(name, control.shown)), "comes" if len(control.shown) == 1 else "come"
    )


def _own(control: Control) -> Markup:
    """Which methods are better on the findings themselves than under the control, and of which it is not shown."""
    above = [method for method, found in control.differences.items() if found.low > 0]
    others = [method for method in control.differences if method not in above]
    forms = (("Better on the findings themselves than here: {}.", above), ("Not shown for {}.", others))
    each = [sentence(form, listed(map(name, methods))) for form, methods in forms if methods]
    return Markup(" ").join(each)


def _control_table(evaluation: Evaluation, control: Control) -> Table:
    priors = [row.method for row in evaluation.rows if row.is_prior]
    lines = [
        Line(name(row), _cells(control, row, found, evaluation.unit), PRIOR if row in priors else "")
        for row, found in control.figures.items()
    ]
    columns = (MEAN, *((AGAINST,) if control.differences else ()), *((SPREAD,) if control.spreads else ()))
    return cut(Table(f"{control.name}: {evaluation.primary}", "Method", columns, lines, _notes(control)))


def _cells(control: Control, row: str, found: Interval, unit: Unit) -> list[Cell]:
    each = [cell(found, unit)]
    if control.differences:
        each.append(_difference(control.differences.get(row), unit))
    if control.spreads:
        each.append(Cell(_spread(control.spreads.get(row))))
    return each


def _difference(found: Interval | None, unit: Unit) -> Cell:
    return Cell(NONE) if found is None else Cell(in_words(found, unit, signed=True), of(found, unit))


def _spread(found: Spread | None) -> str:
    if found is None:
        return NONE
    return f"{rounded(found.mean)} ({rounded(found.lowest)} to {rounded(found.highest)})"


def _notes(control: Control) -> tuple[str, ...]:
    shuffles = max((found.shuffles for found in control.spreads.values()), default=1)
    of_shuffles = (_SHUFFLES.format(shuffles),) if shuffles > 1 else ()
    return (*((_DIFFERENCE,) if control.differences else ()), *of_shuffles)
