"""Exploratory figures: every metric, thresholds tuned on other patients, how far metrics agree, and strata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from markupsafe import Markup

from pellucid.errors import counted
from pellucid.evaluation.evaluation import Evaluation, Stratum, Tuned
from pellucid.evaluation.judging.agreement import FEWEST
from pellucid.evaluation.plan import TARGETS
from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, of, rounded
from pellucid.report.evaluation.tables import PRIOR, Cell, Line, Table, cell, cut, matrix
from pellucid.report.evaluation.wording import TARGET_WORDS, about_metric, listed, name, sentence
from pellucid.statistics import Interval


def metric_tables(evaluation: Evaluation) -> list[Table]:
    """A table for each metric: every method and prior, for the annotated and the predicted class."""
    return [_metric_table(evaluation, metric, targets) for metric, targets in _metrics(evaluation).items()]


def _metrics(evaluation: Evaluation) -> dict[str, list[str]]:
    """The metrics, each with the targets that it was measured for."""
    found: dict[str, set[str]] = {}
    for row in evaluation.rows:
        for target, figures in row.figures.items():
            for metric in figures:
                found.setdefault(metric, set()).add(target)
    known = {metric: sorted(targets, key=_order) for metric, targets in found.items()}
    return {
        metric: targets
        for metric, targets in known.items()
        if (metric, targets) != (evaluation.primary, [evaluation.plan.target])
    }


def _order(target: str) -> tuple[int, str]:
    return (TARGETS.index(target) if target in TARGETS else len(TARGETS), target)


def _metric_table(evaluation: Evaluation, metric: str, targets: list[str]) -> Table:
    lines = [
        Line(
            name(row.method),
            [cell(row.figures.get(target, {}).get(metric), evaluation.unit) for target in targets],
            PRIOR if row.is_prior else "",
        )
        for row in evaluation.rows
    ]
    columns = [TARGET_WORDS.get(target, target) for target in targets]
    return cut(Table(metric, "Method", columns, lines, tuple(_notes(evaluation, metric))))


def _notes(evaluation: Evaluation, metric: str) -> Iterator[str]:
    if metric == evaluation.primary:
        yield f"{TARGET_WORDS[evaluation.plan.target]}: this is the primary endpoint, stated above."
    about = about_metric(metric)
    if about:
        yield about
    reasons = evaluation.missing.get(metric, {})
    if reasons:
        each = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
        yield f"Values that are missing, over all methods and classes that were explained: {each}."


def tuned_table(evaluation: Evaluation) -> Table:
    """The overlap at thresholds that were tuned on other patients."""
    lines = [
        Line(
            name(one.method),
            [
                cell(one.overlap, evaluation.unit),
                Cell(", ".join(f"{value:g}" for value in one.thresholds)),
                Cell(_chosen_on(evaluation, one)),
            ],
        )
        for one in evaluation.tuned
    ]
    columns = ("Overlap (95 % interval)", "Threshold, or those of the folds", "Tuned on")
    caption = f"Overlap of map and finding (IoU), each at a threshold that was tuned on other {evaluation.unit.plural}"
    return cut(Table(caption, "Method", columns, lines))


def _chosen_on(evaluation: Evaluation, one: Tuned) -> Markup:
    if one.chosen_on:
        splits = listed(map(name, evaluation.plan.choose))
        return sentence("{} of the split {}, none of which is scored", counted(one.chosen_on, "finding"), splits)
    return sentence("for each of {} folds, the findings of the others", len(one.thresholds))


def ranks_table(evaluation: Evaluation) -> Table:
    """The best and the worst rank of each method among the metrics."""
    lines = [
        Line(name(method), [Cell(_rank(best)), Cell(_rank(worst))])
        for method, (best, worst) in evaluation.ranks.items()
    ]
    note = "Metrics contradict each other: a method that is first in one may be last in another. No rank is a verdict."
    return cut(Table("Ranks among the metrics", "Method", ("Best rank", "Worst rank"), lines, (note,)))


def _rank(value: float) -> str:
    return NONE if value != value else f"{value:g}"


def why_no_agreement(evaluation: Evaluation) -> str:
    """Why methods are not ranked; "" where they are, or could be."""
    methods = sum(not row.is_prior for row in evaluation.rows)
    if not 0 < methods < FEWEST:
        return ""
    return (
        f"Ranks and Kendall's τ are left out: of fewer than {FEWEST} methods any two orders are the same or the "
        "reverse of one another, which says nothing of how far metrics agree."
    )


def tau_table(evaluation: Evaluation) -> Table:
    """How far faithfulness under two baselines ranks the methods alike."""
    lines = [Line(name(pair), [Cell(rounded(value))]) for pair, value in evaluation.tau.items()]
    note = "1: both rank the methods alike. 0: they have nothing in common. −1: one is the other reversed."
    caption = "Faithfulness under two baselines: Kendall's τ of the methods' order"
    return cut(Table(caption, "Baselines", ("τ",), lines, (note,)))


def strata_tables(evaluation: Evaluation) -> list[Table]:
    """The primary metric in parts of the findings: by size, confidence, or a column of the data set."""
    priors = [row.method for row in evaluation.rows if row.is_prior]
    kinds: dict[str, list[Stratum]] = {}
    for stratum in filter(_is_stated, evaluation.strata):
        kinds.setdefault(stratum.kind, []).append(stratum)
    return [
        table
        for kind, strata in kinds.items()
        for table in matrix(
            f"{evaluation.primary} by {kind}", "Method", _by_method(strata), evaluation.unit, priors=priors
        )
    ]


def counts_table(evaluation: Evaluation) -> Table:
    """The parts of which there are counts alone."""
    few = [stratum for stratum in evaluation.strata if not _is_stated(stratum)]
    lines = [
        Line(
            name(f"{one.kind}: {one.name}"), [Cell(_counts(one, evaluation.unit)), Cell(_reason(one, evaluation.unit))]
        )
        for one in few
    ]
    return cut(Table("Parts that are too small", "Part", (f"Findings and {evaluation.unit.plural}", "Reason"), lines))


def _is_stated(stratum: Stratum) -> bool:
    return any(found.withheld is None for found in stratum.figures.values())


def _counts(stratum: Stratum, unit: Unit) -> str:
    largest = max(stratum.figures.values(), key=lambda found: found.count, default=None)
    return NONE if largest is None else of(largest, unit)


def _reason(stratum: Stratum, unit: Unit) -> str:
    return next((unit.words(found.withheld or "") for found in stratum.figures.values()), NONE)


def _by_method(strata: list[Stratum]) -> Mapping[str, Mapping[str, Interval]]:
    methods = dict.fromkeys(method for stratum in strata for method in stratum.figures)
    return {
        method: {stratum.name: stratum.figures[method] for stratum in strata if method in stratum.figures}
        for method in methods
    }
