"""``measured``: a value for each finding, method and metric of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.core import catalogue
from pellucid.core.provenance import versions
from pellucid.errors import DataError
from pellucid.evaluation.case import Data
from pellucid.evaluation.data.patients import grouped
from pellucid.evaluation.measured import Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.assembling import assembled
from pellucid.evaluation.scoring.batches import Batches
from pellucid.evaluation.scoring.chunks import Scoring
from pellucid.evaluation.scoring.journal import NAME, Journal
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.nothing import why_nothing
from pellucid.evaluation.scoring.opening import opened
from pellucid.evaluation.scoring.partners import shuffles
from pellucid.evaluation.scoring.provenance import provenance
from pellucid.evaluation.scoring.records import facts_of, sha
from pellucid.evaluation.scoring.request import Requested, requested
from pellucid.evaluation.scoring.scorer import Rows, Scorer
from pellucid.evaluation.scoring.sorting import Sorted, check_labels, sorted_out
from pellucid.evaluation.scoring.survey import Progress, Survey, one_space, silent, surveyed, with_spacing
from pellucid.evaluation.scoring.usable import ALL, expanded
from pellucid.evaluation.splits import uses_of
from pellucid.models.preprocessing import Preprocessing

_BATCH = 8
"""Findings that are scored at a time where no model says otherwise."""
_RECORDS = 2
"""The form of the records: those of another one are measured anew."""
_TRIED = 3
"""The number of images that methods are tried on: one of them may be out of the ordinary."""


def measured(
    data: Data,
    plan: EvaluationPlan,
    *,
    network: Network | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Mapping[str, str] | None = None,
    folder: Path | None = None,
    untrained: bool = True,
    progress: Progress = silent,
) -> Measured:
    """Score the maps of a data set's findings, of every method and prior of a plan.

    Each image is looked at once: what it holds, where its findings are on the grid of the network's input, and what the
    model predicts. Then findings are scored, a few at a time. Images are read as they are needed and not kept.

    Args:
        data: the cases, as ``read_data`` makes them.
        plan: what is measured, and what the splits are for. Only findings of the test split are scored.
        network: the model; None where maps of all methods were made before.
        preprocessing: without a model, how images become the grid; None: as they are.
        labels: classes of the model by the labels of the data set, where their names differ.
        folder: where scores are kept, so that a run that was killed goes on; None keeps them nowhere.
        untrained: also score the maps of the network with random weights, a negative control.
        progress: called with what is done, how many of it are, and of how many.

    Raises:
        DataError: no finding can be scored, or a patient is in two splits.
        OptionError: the plan names what there is not, or images differ in size.
    """
    looked = Looked.of(
        data, plan, network=network, preprocessing=preprocessing, labels=labels, untrained=untrained, progress=progress
    )
    return looked.measured(folder, progress)


@dataclass(frozen=True, eq=False)
class Looked:
    """A data set that was looked at once: what is scored is known, and nothing is scored yet."""

    data: Data
    plan: EvaluationPlan
    survey: Survey
    batches: Batches
    scorer: Scorer
    notes: tuple[str, ...]
    patients_stated: bool

    @classmethod
    def of(
        cls,
        data: Data,
        plan: EvaluationPlan,
        *,
        network: Network | None = None,
        preprocessing: Preprocessing | None = None,
        labels: Mapping[str, str] | None = None,
        untrained: bool = True,
        progress: Progress = silent,
    ) -> Looked:
        """Look at each image; arguments and errors are those of ``measured``."""
        made_before = list(dict.fromkeys(name for case in data.cases for name in case.maps))
        named = [name for name in plan.methods if name != ALL]
        early = requested(plan, named, made_before, network is not None)  # errors of the plan come before any work
        grid = network.preprocessing if network is not None else preprocessing or Preprocessing()
        size = _BATCH if network is None else network.runtime.batch_size
        survey = surveyed(data.cases, grid, network, size, progress)
        check_labels(labels or {}, survey.predicted)
        if early.tolerance.value and early.tolerance.unit == "mm":
            survey = with_spacing(survey)
        whose = grouped([one.case for one in survey.cases], {one.case.name: one.fingerprint for one in survey.cases})
        found = sorted_out(survey, whose.patients, labels or {}, [*data.excluded, *whose.excluded])
        if network is not None and survey.predicted is not None:
            network = network.of_head(survey.predicted.head)
        tried = opened([one.case for one in survey.cases[:_TRIED]], grid) if network is not None else ()
        images = [one.values[None] for one in tried if one.image is not None]
        methods, left_out = expanded(plan.methods, made_before, network, images)
        asked = requested(plan, methods, made_before, network is not None)
        notes = (*data.notes, *whose.notes, *left_out)
        scorer = Scorer(asked, network, plan.seed, untrained)
        classes = () if survey.predicted is None else survey.predicted.classes
        if not found.findings:
            raise DataError(why_nothing(found, classes, data.drawn))
        return cls(data, plan, survey, _batches(found, asked, plan, grid), scorer, notes, whose.are_stated)

    @property
    def size(self) -> int:
        """How many images or findings are scored at a time."""
        return _BATCH if self.scorer.network is None else self.scorer.network.runtime.batch_size

    def measured(self, folder: Path | None = None, progress: Progress = silent) -> Measured:
        """Score all findings, and images without one; what is in the folder's journal is taken from there."""
        network, asked = self.scorer.network, self.scorer.asked
        request = _request(asked, network, self.plan, self.scorer.untrained)
        with Journal(None if folder is None else folder / NAME) as journal:
            scoring = Scoring(self.batches, self.scorer, journal, request, self.size, progress)
            findings, lesion_free, chosen = scoring.of_findings(), scoring.without(), scoring.of_chosen()
        facts = provenance(self.data, self.plan.data, network, self.batches.preprocessing, asked, findings)
        rows = _rows(findings), _rows(lesion_free), _rows(chosen)
        found = assembled(self.batches, self.survey, asked, *rows, self.data, facts, self.notes)
        return replace(found, patients_stated=self.patients_stated)


def _batches(found: Sorted, asked: Requested, plan: EvaluationPlan, grid: Preprocessing) -> Batches:
    """What is scored: the findings and images of the test split."""
    uses = uses_of(found.images, plan)
    numbers, chosen = (
        [number for number, one in enumerate(found.findings) if uses[one.finding.image] == use]
        for use in ("test", "choose")
    )
    if not numbers:
        raise DataError(f"no finding is in the splits {', '.join(plan.test)}, which the plan scores")
    whose = [found.images[found.findings[number].finding.image].patient for number in numbers]
    space = one_space(found.surveyed)
    for spacing in dict.fromkeys(one.spacing for one in found.surveyed):
        asked.tolerance.check(space, spacing)
    return Batches(
        found,
        numbers,
        [number for number in found.without if uses[number] == "test"],
        shuffles(whose, plan.seed),
        space,
        asked.tolerance,
        grid,
        plan.gated if asked.gates else 0,
        chosen,
    )


def _rows(records: Sequence[Any]) -> Rows:
    return [row for record in records for row in record["rows"]]


def _request(asked: Requested, network: Network | None, plan: EvaluationPlan, untrained: bool) -> str:
    """A digest of what all scores depend on: the model, the methods, priors and metrics, and the versions."""
    facts: list[Any] = [
        _RECORDS,
        versions(),
        plan.seed,
        str(asked.tolerance),
        untrained,
        asked.made_before,
        asked.gated,
    ]
    facts += [
        [name, type(one).__module__, catalogue.settings(one)] for name, one in {**asked.methods, **asked.priors}.items()
    ]
    facts += [[label, repr(one)] for label, one in {**asked.metrics, **asked.gates}.items()]
    return sha([*facts, *(facts_of(network) if network is not None else ())])
