"""From what was measured to what is shown: verdicts by a plan, figures, controls and what cannot be answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from pellucid.evaluation.evaluation import Evaluation, Flow, Row
from pellucid.evaluation.judging.agreement import means_of, ranks_of, tau_of
from pellucid.evaluation.judging.controls import controls_of
from pellucid.evaluation.judging.endpoint import Endpoint, endpoint_of
from pellucid.evaluation.judging.figures import SCORE, figure
from pellucid.evaluation.judging.overlap import curves_of, tuned_of
from pellucid.evaluation.judging.quality import confusion_of, quality_of
from pellucid.evaluation.judging.remarks import limits_of, notes_of
from pellucid.evaluation.judging.scored import score_rows
from pellucid.evaluation.judging.strata import strata_of
from pellucid.evaluation.measured import Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.splits import Split, split_of
from pellucid.evaluation.unit import unit_of
from pellucid.statistics import Interval


def judged(measured: Measured, plan: EvaluationPlan, *, planned: bool, plan_digest: str) -> Evaluation:
    """What the images of the plan's test split show: no other is scored. Equal input gives an equal result.

    The verdict on each method compares the primary metric of maps of the plan's target with that of priors, patients
    being the units (``pellucid.statistics.verdicts``). A finding on which a method has no value counts as a miss
    (``Endpoint``). All else is exploratory. Random numbers are drawn from ``plan.seed``.

    Args:
        measured: the values of all findings, of every split.
        plan: the primary endpoint's settings, and what the splits are for.
        planned: whether the plan was fixed before the scores were seen.
        plan_digest: the SHA-256 of its file, or of the settings.

    Raises:
        DataError: a patient is in two splits, or the plan names a split that no image is in.
    """
    split = split_of(measured, plan)
    test = split.test
    patients = [test.images[finding.image].patient for finding in test.findings]
    endpoint = endpoint_of(test, patients, plan.target)
    rows = rows_of(test, endpoint, patients, plan)
    means = means_of(rows, test.metrics)
    return Evaluation(
        plan=plan,
        planned=planned,
        plan_digest=plan_digest,
        flow=flow_of(measured, split),
        quality=quality_of(test),
        confusion=confusion_of(test),
        patients_stated=test.patients_stated,
        primary=test.primary,
        rows=rows,
        tuned=tuned_of(test.overlaps, patients, test.chosen, plan.seed),
        curves=curves_of(test.overlaps),
        heat=heat_of(test, plan.seed),
        even=even_of(test),
        controls=controls_of(test, patients, plan),
        gates=gates_of(test, patients, plan.seed),
        strata=strata_of(test, endpoint, plan.seed),
        ranks=ranks_of(means),
        tau=tau_of(means, test.metrics),
        missing={metric: dict(reasons) for metric, reasons in test.reasons.items()},
        notes=notes_of(test, endpoint, plan),
        limits=limits_of(test, planned),
        provenance=test.provenance,
        scores=score_rows(test),
    )


def flow_of(measured: Measured, split: Split) -> Flow:
    """The flow of cases: those that the data set names, those excluded, and those of the test split."""
    excluded: dict[str, list[str]] = defaultdict(list)
    for one in measured.excluded:
        excluded[one.reason].append(one.name)
    test = split.test
    return Flow(
        given=measured.given,
        excluded={reason: tuple(names) for reason, names in excluded.items()},
        images=len(test.images),
        findings=len(test.findings),
        lesion_free=len(test.without),
        patients=len({image.patient for image in test.images}),
        other_splits=split.other,
    )


def rows_of(measured: Measured, endpoint: Endpoint, patients: Sequence[str], plan: EvaluationPlan) -> tuple[Row, ...]:
    """A row for each method, then for each prior. Of the primary endpoint the figure is what the verdict rests on."""
    verdicts, primary = endpoint.verdicts(plan), endpoint.figures(plan.seed)
    unit = unit_of(measured.patients_stated)
    found = []
    for method in (*measured.methods, *measured.priors):
        figures = {
            target: {
                name: figure(column, measured.metrics[name], patients, plan.seed)
                for name, column in methods[method].items()
            }
            for target, methods in measured.values.items()
            if method in methods
        }
        if method in primary:
            figures[plan.target][measured.primary] = primary[method]
        is_prior, reason = method in measured.priors, endpoint.why_none(plan)
        verdict = verdicts.get(method)
        why = None if is_prior or verdict else unit.words(reason or "it has no value")
        found.append(Row(method, is_prior, figures, verdict, why, endpoint.failed.get(method, 0)))
    return tuple(found)


def heat_of(measured: Measured, seed: int) -> dict[str, dict[str, Interval]]:
    """Where the heat goes on images without a finding, by method."""
    patients = [measured.images[one].patient for one in measured.without]
    return (
        {
            method: {what: figure(column, SCORE, patients, seed) for what, column in columns.items()}
            for method, columns in measured.lesion_free.items()
        }
        if patients
        else {}
    )


def even_of(measured: Measured) -> dict[str, float]:
    """Where heat that is spread evenly goes on images without a finding: the mean, NaN being left out."""
    each = {what: column[~np.isnan(column)] for what, column in measured.even.items()}
    return {what: float(known.mean()) for what, known in each.items() if len(known)}


def gates_of(measured: Measured, patients: Sequence[str], seed: int) -> Mapping[str, Mapping[str, Interval]]:
    """The figures of randomisation metrics; where they are of a few findings only, each is a unit of its own."""
    return {
        method: {
            name: figure(column, SCORE, patients if len(column) == len(patients) else None, seed)
            for name, column in columns.items()
        }
        for method, columns in measured.gates.items()
    }
