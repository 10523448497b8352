"""Tests of the maps apart from findings: images without one, negative controls, and randomisation gates."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from pellucid.evaluation.evaluation import Control, Evaluation
from pellucid.report.evaluation.tables import PRIOR, Line, Table, cell, cut, matrix
from pellucid.report.evaluation.wording import about_metric, listed, name, sentence

HEAT = {
    "area": "Share of the image at 0.5 or above (false-positive area)",
    "in the mean mask": "Share of the heat where findings usually are",
    "at the border": "Share of the heat at the border (outer tenth of each side)",
}


def heat_tables(evaluation: Evaluation) -> list[Table]:
    """Where the heat goes on images without a finding."""
    figures = {
        method: {HEAT.get(what, what): found for what, found in each.items()}
        for method, each in evaluation.heat.items()
    }
    return matrix(
        "Where the heat goes on images without a finding", "Method", figures, noun="image", priors=_priors(evaluation)
    )


@dataclass(frozen=True)
class Told:
    """A negative control with its result in words; ``tag`` is the result in short."""

    name: str
    what: str
    expected: str
    tag: str
    result: Markup
    table: Table


def controls(evaluation: Evaluation) -> list[Told]:
    """The negative controls: where no method can know anything, none should come out."""
    return [
        Told(one.name, one.what, one.expected, *_result(one), _control_table(evaluation, one))
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


def _control_table(evaluation: Evaluation, control: Control) -> Table:
    priors = _priors(evaluation)
    lines = [Line(name(row), [cell(found)], PRIOR if row in priors else "") for row, found in control.figures.items()]
    return cut(Table(f"{control.name}: {evaluation.primary}", "Method", ("Mean (95 % interval)",), lines))


def gate_tables(evaluation: Evaluation) -> list[Table]:
    """What is left of the maps when the network's weights are random."""
    return matrix("Maps of a network with random weights", "Method", evaluation.gates, noun="finding")


def gate_notes(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What each randomisation metric is."""
    names = dict.fromkeys(metric for each in evaluation.gates.values() for metric in each)
    return [(metric, about_metric(metric)) for metric in names if about_metric(metric)]


def _priors(evaluation: Evaluation) -> list[str]:
    return [row.method for row in evaluation.rows if row.is_prior]
