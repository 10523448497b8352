"""Where a method that is better in the primary endpoint is not: in other metrics, and in parts of the findings."""

from __future__ import annotations

from markupsafe import Markup

from pellucid.evaluation.evaluation import Evaluation
from pellucid.report.evaluation.numbers import rounded
from pellucid.report.evaluation.wording import listed, metric_class, name, sentence
from pellucid.statistics import Claim, Interval, Verdict


def elsewhere(evaluation: Evaluation, verdict: Verdict) -> list[Markup]:
    """Where a method that is better has no higher mean than the prior: in other metrics, and in parts of the findings.

    One figure stands for all findings and one metric: where the others point elsewhere, a reader has to know.
    """
    if verdict.claim is not Claim.BETTER:
        return []
    found = []
    if metrics := _other_metrics(evaluation, verdict):
        form = "In these other metrics its mean is no better than that of {}: {}."
        found.append(sentence(form, name(verdict.prior), listed(map(name, metrics), 6)))
    if parts := _other_parts(evaluation, verdict):
        form = "Not in every part of the findings: its mean is no better than that of {} for {}. Parts were not tested."
        found.append(sentence(form, name(verdict.prior), listed(parts, 6)))
    return found


def _other_metrics(evaluation: Evaluation, verdict: Verdict) -> list[str]:
    rows = {row.method: row.figures.get(evaluation.plan.target, {}) for row in evaluation.rows}
    own, prior = rows.get(verdict.method, {}), rows.get(verdict.prior, {})
    return [
        metric
        for metric in own
        if metric != evaluation.primary and metric in prior and not _is_ahead(metric, own[metric], prior[metric])
    ]


def _other_parts(evaluation: Evaluation, verdict: Verdict) -> list[Markup]:
    """The parts with their figures; of parts that are too small there are none."""
    return [
        sentence("{} {} ({} and {})", stratum.kind, name(stratum.name), rounded(own.estimate), rounded(prior.estimate))
        for stratum in evaluation.strata
        for own, prior in [(stratum.figures.get(verdict.method), stratum.figures.get(verdict.prior))]
        if own is not None
        and prior is not None
        and own.withheld is None
        and prior.withheld is None
        and not _is_ahead(evaluation.primary, own, prior)
    ]


def _is_ahead(metric: str, own: Interval, prior: Interval) -> bool:
    """Whether a mean is better than another; where neither direction is, or one is missing, nothing is said."""
    better = getattr(metric_class(metric), "better", None)
    if better is None or own.estimate != own.estimate or prior.estimate != prior.estimate:
        return True
    return own.estimate < prior.estimate if better == "lower" else own.estimate > prior.estimate
