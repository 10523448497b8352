"""The cases of a data set that a network has looked at, whose images they are, and what could not be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.errors import DataError
from pellucid.evaluation.case import Data, Exclusion, reasons_of
from pellucid.evaluation.data.patients import grouped
from pellucid.evaluation.scoring.network import Network, Predicted
from pellucid.evaluation.scoring.sorting import check_labels
from pellucid.evaluation.scoring.survey import Progress, Surveyed, surveyed


@dataclass(frozen=True, eq=False)
class Seen:
    """Cases with probabilities; ``patients`` are theirs by the case's name, as ``grouped`` tells them apart."""

    cases: Sequence[Surveyed]
    patients: Mapping[str, str]
    patients_stated: bool
    predicted: Predicted
    excluded: Sequence[Exclusion]
    notes: Sequence[str]

    @property
    def failures(self) -> list[Exclusion]:
        """The images and masks that are broken or do not fit; an image whose mask is may be analysed without it."""
        of_masks = (one for case in self.cases for one in case.excluded)
        return [one for one in (*self.excluded, *of_masks) if one.failed]

    @classmethod
    def of(cls, data: Data, network: Network, labels: Mapping[str, str], progress: Progress) -> Seen:
        """Look at each image, by one pass of the network for each.

        Raises:
            DataError: no image can be used.
            OptionError: a label stands for what is no class.
        """
        survey = surveyed(data.cases, network.preprocessing, network, network.runtime.batch_size, progress)
        check_labels(labels, survey.predicted)
        whose = grouped([one.case for one in survey.cases], {one.case.name: one.fingerprint for one in survey.cases})
        cases = [one for one in survey.cases if one.case.name in whose.patients and one.probabilities is not None]
        excluded = (*data.excluded, *survey.excluded, *whose.excluded)
        if survey.predicted is None or not cases:
            reasons = reasons_of(excluded)
            raise DataError(f"no image can be used ({reasons or 'there is none'}): give images that the model takes")
        notes = (*data.notes, *whose.notes)
        return cls(cases, whose.patients, whose.are_stated, survey.predicted, excluded, notes)
