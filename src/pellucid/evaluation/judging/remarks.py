"""The sentences that a report needs beside its figures: what was counted how, and what these cases cannot answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from pellucid.errors import counted
from pellucid.evaluation.judging.endpoint import Endpoint
from pellucid.evaluation.judging.quality import judged_images
from pellucid.evaluation.measured import Column, Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.unit import unit_of

FEW = 20
"""Patients with fewer of which most intervals are withheld."""


TRAINED_ON = (
    "Cases of the training may be among these: whether the model was trained on any of these images is not known here."
)


def notes_of(measured: Measured, endpoint: Endpoint, plan: EvaluationPlan) -> tuple[str, ...]:
    """Whole sentences on how the figures came about, after those that were measured with."""
    return (*measured.notes, *_notes(measured, endpoint, plan))


def _notes(measured: Measured, endpoint: Endpoint, plan: EvaluationPlan) -> Iterator[str]:
    findings, kept = len(measured.findings), int(endpoint.kept.sum())
    for method, count in endpoint.failed.items():
        yield (
            f"{method} has no value of {measured.primary} on {count} of {counted(kept, 'finding')}: in the primary "
            "endpoint each counts as a miss, so that a method does not gain by failing (doi:10.1136/bmj.e6717)."
        )
    if endpoint.priors and kept < findings:
        yield (
            f"{findings - kept} of {counted(findings, 'finding')} are not in the primary endpoint: there a prior "
            "has no value."
        )
    for name in endpoint.absent:
        yield f"{name} has no value of {measured.primary} at all, and is not compared."
    reason = endpoint.why_none(plan)
    if reason:
        yield f"There is no verdict: {unit_of(measured.patients_stated).words(reason)}."
    elif not endpoint.leaves_room(plan):
        yield (
            f'"As good as" was not asked: {plan.prior} is not shown to be better than a miss by twice the margin of '
            f"{plan.margin:g}, so that a map which tells little could be as good."
        )
    if measured.metrics[measured.primary].better == "lower":
        yield f"Of {measured.primary} lower is better; a difference in a verdict is positive where a method is better."
    left = sum(one.probabilities is not None for one in measured.images) - len(judged_images(measured))
    if left:
        yield (
            f"{counted(left, 'image')} with no stated class that the model has {_are(left)} left out of the model's "
            "AUC and calibration."
        )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def limits_of(measured: Measured, planned: bool) -> tuple[str, ...]:
    """Whole sentences on what these cases cannot answer."""
    return tuple(_limits(measured, planned))


def _limits(measured: Measured, planned: bool) -> Iterator[str]:
    unit = unit_of(measured.patients_stated)
    patients = len({measured.images[one.image].patient for one in measured.findings})
    labels = {one.label for one in measured.findings}
    if not planned:
        yield "No plan was fixed before the scores were seen: every result here is exploratory."
    if patients < FEW:
        yield f"The findings are of {unit.counted(patients)}: with fewer than {FEW} hardly anything can be shown."
    if unit.means:
        yield unit.means
    if len(labels) == 1:
        yield f"All findings are of one class ({next(iter(labels))}): how maps of other classes do is not known."
    if not len(measured.without):
        yield "No image without a finding was given: where the heat goes if there is nothing to find is not known."
    if not any(one.probabilities for one in measured.images):
        yield "No model was given: whether it is right on these images is not known."
    if not _any(measured.untrained.values()):
        yield "Maps of an untrained network were not made: how much of the maps is due to training is not known."
    if len(labels) > 1:
        yield (
            "Each figure is a mean over the findings as these cases mix them: with other shares of classes and sizes "
            "it may be another one."
        )
    yield "What is drawn into images, such as calipers or letters, was not removed: a peak may be on it."
    yield TRAINED_ON
    yield "These are the images of one data set: how maps do on others is not known."


def _any(columns: Iterable[Column]) -> bool:
    return any(bool(np.isfinite(column).any()) for column in columns)
