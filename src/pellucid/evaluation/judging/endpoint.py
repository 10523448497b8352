"""The primary endpoint: the findings that it rests on, and what stands for a map that a method does not make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pellucid.evaluation.judging.figures import figure
from pellucid.evaluation.measured import Column, Measured, MetricFacts
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.statistics import Interval, Plan, Verdict, verdicts

_NO_MARGIN = 1e-9
"""A margin within which nothing is shown to be as good."""


@dataclass(frozen=True, eq=False)
class Endpoint:
    """The values (N,) of methods and priors that are compared, NaN for the findings that are left out for all of them.

    A finding is left out where a prior has no value. Where a method has none, it **counts as a miss**: ``failed`` says
    how often. Were it left out, a method would gain by failing on the cases that are hard; so a test without a result
    counts against it in studies of diagnostic accuracy, too ("intention to diagnose": Schuetz et al. 2012,
    doi:10.1136/bmj.e6717). A miss is 0, or the least value of any method or prior if that is lower; where lower values
    are better, 1, or the greatest.

    ``absent`` are the methods and priors without any value: they are not compared.
    """

    methods: Mapping[str, Column]
    priors: Mapping[str, Column]
    patients: Sequence[str]
    facts: MetricFacts
    failed: Mapping[str, int]
    absent: Sequence[str]

    @classmethod
    def of(
        cls,
        methods: Mapping[str, Column],
        priors: Mapping[str, Column],
        patients: Sequence[str],
        facts: MetricFacts,
    ) -> Endpoint:
        """The endpoint of the values (N,) as they were measured."""
        every = {**methods, **priors}
        absent = [name for name, column in every.items() if len(column) and np.isnan(column).all()]
        known = {name: column for name, column in priors.items() if name not in absent}
        left_out = np.zeros(len(patients), dtype=bool)
        for column in known.values():
            left_out |= np.isnan(column)
        missed = {name: np.isnan(column) & ~left_out for name, column in methods.items() if name not in absent}
        miss = _miss(list(every.values()), facts)
        return cls(
            {name: np.where(left_out, np.nan, np.where(gaps, miss, methods[name])) for name, gaps in missed.items()},
            {name: np.where(left_out, np.nan, column) for name, column in known.items()},
            patients,
            facts,
            {name: int(gaps.sum()) for name, gaps in missed.items() if gaps.any()},
            absent,
        )

    @property
    def kept(self) -> Column:
        """Which findings are compared, (N,) bool."""
        columns = [*self.priors.values(), *self.methods.values()]
        return ~np.isnan(columns[0]) if columns else np.zeros(len(self.patients), dtype=bool)

    def figures(self, seed: int) -> dict[str, Interval]:
        """The mean of each method and prior, with its interval."""
        every = {**self.methods, **self.priors}
        return {name: figure(column, self.facts, self.patients, seed) for name, column in every.items()}

    def why_none(self, plan: EvaluationPlan) -> str | None:
        """Why there is no verdict; None where there is one."""
        patients = {patient for patient, kept in zip(self.patients, self.kept, strict=True) if kept}
        reasons = (
            (self.facts.better is None, "of the primary metric neither more nor less is better"),
            (not self.patients, "there is no finding to score maps on"),
            (len(self.patients) == 1, "there is one finding only"),
            (len(set(self.patients)) == 1, "all findings are of one patient"),
            (not self.methods, "no method has a value"),
            (plan.prior not in self.priors, f"the prior {plan.prior} of the plan has no value"),
            (not self.kept.any(), "no finding has a value of every prior"),
            (int(self.kept.sum()) == 1, "one finding only has a value of every prior"),
            (len(patients) == 1, "all findings that have a value of every prior are of one patient"),
        )
        return next((reason for holds, reason in reasons if holds), None)

    def verdicts(self, plan: EvaluationPlan) -> dict[str, Verdict]:
        """The verdict on each method; none where ``why_none`` says why. A positive difference speaks for the method."""
        if self.why_none(plan) is not None:
            return {}
        asked = Plan(plan.prior, plan.margin, plan.difference, plan.level)
        found = verdicts(
            {name: self._turned(column) for name, column in self.methods.items()},
            {name: self._turned(column) for name, column in self.priors.items()},
            asked if self.leaves_room(plan) else replace(asked, margin=_NO_MARGIN),
            generator=np.random.default_rng(plan.seed),
            patients=self.patients,
        )
        return {one.method: replace(one, plan=asked) for one in found}

    def leaves_room(self, plan: EvaluationPlan) -> bool:
        """Whether "as good as" can be asked: the named prior is better than a miss by at least twice the margin.

        A prior that hits in 6 % is within 10 points of a map that never hits. So the margin of a trial of
        non-inferiority is a part of what the reference does at least, by its interval's bound; often half of it (FDA
        2016, Non-Inferiority Clinical Trials to Establish Effectiveness). Half is right for maps, too: of small
        findings whose positions are normally distributed, the position of another patient's hits half as often as the
        best one does.
        """
        found = figure(self._turned(self.priors[plan.prior]), self.facts, self.patients, plan.seed)
        return bool(found.low >= 2 * plan.margin)

    def _turned(self, column: Column) -> Column:
        """The values, or 1 − value where lower is better: hits stay hits, and differences change their sign only."""
        return 1 - column if self.facts.better == "lower" else column


def _miss(columns: Sequence[Column], facts: MetricFacts) -> float:
    """The value that stands for a map that is not there."""
    known = np.concatenate([column[~np.isnan(column)] for column in columns]) if columns else np.zeros(0)
    if facts.better == "lower":
        return float(known.max(initial=1.0))
    return float(known.min(initial=0.0))


def endpoint_of(measured: Measured, patients: Sequence[str], target: str) -> Endpoint:
    """The primary endpoint: the primary metric of maps of the plan's target; ``patients`` (N,) of the findings."""
    columns = measured.values.get(target, {})
    empty = np.full(len(patients), np.nan)
    found = {name: by_metric.get(measured.primary, empty) for name, by_metric in columns.items()}
    return Endpoint.of(
        {name: found[name] for name in measured.methods if name in found},
        {name: found[name] for name in measured.priors if name in found},
        patients,
        measured.metrics[measured.primary],
    )
