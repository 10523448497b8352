"""The table of the primary endpoint: methods and priors, with the numbers of the verdicts."""

from __future__ import annotations

from pellucid.evaluation.evaluation import Evaluation, Row
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, of, p_value
from pellucid.report.evaluation.sections.verdicts import WORDS, advantage, in_two_digits, primary_of
from pellucid.report.evaluation.tables import PRIOR, Cell, Line, Table, cell, cut
from pellucid.report.evaluation.wording import TARGET_WORDS, name, sentence
from pellucid.statistics import Claim, Verdict

COLUMNS = (
    "Mean (95 % interval)",
    "Advantage over a prior (95 % interval)",
    "Adjusted p: better than every prior",
    "Adjusted p: worse",
    "Adjusted p: as good",
    "Verdict",
    "Findings needed",
)
_NOTE = (
    "The p-values are one-sided and adjusted over the methods (Holm); the intervals are not adjusted. The advantage is "
    "over the prior that the verdict is about. Findings needed: to find a true advantage of {:g} with a probability of "
    "80 %."
)


def primary_table(evaluation: Evaluation) -> Table:
    """The primary endpoint of every method and prior, on maps of the plan's target."""
    lines = [Line(name(row.method), _cells(evaluation, row), PRIOR if row.is_prior else "") for row in evaluation.rows]
    caption = f"Primary endpoint: {evaluation.primary}, {TARGET_WORDS[evaluation.plan.target].lower()}"
    return cut(Table(caption, "Method", COLUMNS, lines, (_NOTE.format(evaluation.plan.difference),)))


def _cells(evaluation: Evaluation, row: Row) -> list[Cell]:
    own = cell(primary_of(evaluation, row), evaluation.unit)
    return [
        own,
        *(_judged(row.verdict, evaluation.unit) if row.verdict is not None else [Cell(NONE)] * (len(COLUMNS) - 1)),
    ]


def _judged(verdict: Verdict, unit: Unit) -> list[Cell]:
    level = verdict.plan.level
    values = (verdict.better, verdict.worse, verdict.as_good)
    is_open = verdict.claim is Claim.NOT_SHOWN and verdict.cases_needed is not None
    needed = f"about {in_two_digits(verdict.cases_needed or 0)}" if is_open else NONE
    return [
        Cell(sentence("{} over {}", advantage(verdict, unit), name(verdict.prior)), of(verdict.difference, unit)),
        *(Cell(p_value(value, level).removeprefix("= ")) for value in values),
        Cell(WORDS[verdict.claim].word),
        Cell(needed),
    ]
