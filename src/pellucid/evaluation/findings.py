"""What is scored: the findings of the images, the images without one, and why others are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.evaluation.case import Exclusion
from pellucid.evaluation.measured import Finding, Seen
from pellucid.evaluation.network import Predicted
from pellucid.evaluation.reading import matched
from pellucid.evaluation.survey import Marked, Survey, Surveyed

EMPTY = "the mask is empty"
NO_MASK = "no mask, where other images of the label have one"
NOTHING_STATED = "neither a label nor a mask is stated"
NO_CLASS = "the label is no class of the model"


@dataclass(frozen=True, eq=False)
class Scored:
    """A finding with its mask on the grid, packed. ``index`` is that of its class, −1 without a model."""

    finding: Finding
    mask: bytes
    index: int


@dataclass(frozen=True, eq=False)
class Sorted:
    """The images that are analysed, their findings, the indices of those without one, and what is left out.

    ``surveyed`` are the images as they were looked at, in the order of ``images``.
    """

    images: tuple[Seen, ...]
    surveyed: tuple[Surveyed, ...]
    findings: tuple[Scored, ...]
    without: tuple[int, ...]
    excluded: tuple[Exclusion, ...]


def sorted_out(
    survey: Survey, patients: Mapping[str, str], labels: Mapping[str, str], excluded: Sequence[Exclusion]
) -> Sorted:
    """Decide for each image whether it has findings, has none, or is left out.

    ``patients`` are the images' patients by the case's name, ``labels`` the classes that labels stand for, and
    ``excluded`` what was left out before.

    An image without a mask has no finding if it is stated to have no label, or labels of which no image has a mask,
    such as "normal". Where other images of its label have masks, its own is missing, and it is left out.
    """
    return _Sorting(survey, patients, labels, excluded).done()


class _Sorting:
    """Sorts one image after the other."""

    def __init__(
        self,
        survey: Survey,
        patients: Mapping[str, str],
        labels: Mapping[str, str],
        excluded: Sequence[Exclusion],
    ) -> None:
        self._survey, self._patients, self._labels = survey, patients, labels
        self._outlined = {marked.label for one in survey.cases for marked in one.marked if marked.area}
        self._images: list[Seen] = []
        self._surveyed: list[Surveyed] = []
        self._findings: list[Scored] = []
        self._without: list[int] = []
        self._excluded = [*excluded, *survey.excluded]

    def done(self) -> Sorted:
        for one in self._survey.cases:
            self._excluded += one.excluded
            self._sort(one)
        return Sorted(
            tuple(self._images),
            tuple(self._surveyed),
            tuple(self._findings),
            tuple(self._without),
            tuple(self._excluded),
        )

    def _sort(self, one: Surveyed) -> None:
        seen, number = self._seen(one), len(self._images)
        findings = [self._finding(one, marked, number, seen) for marked in one.marked if marked.area]
        kept = [finding for finding in findings if finding is not None]
        reason = None if findings else self._why_left_out(one)
        if kept or (not findings and reason is None):
            self._images.append(seen)
            self._surveyed.append(one)
            self._findings += kept
            self._without += [] if kept else [number]
        elif reason:
            self._excluded.append(Exclusion(one.case.name, reason))

    def _why_left_out(self, one: Surveyed) -> str | None:
        """Why an image without a mask is left out; None if it has no finding, "" if its masks were left out before."""
        if one.excluded:
            return ""
        stated = {*(one.case.labels or ()), *(marked.label for marked in one.marked)}
        if stated & self._outlined:
            return EMPTY if any(marked.label in self._outlined for marked in one.marked) else NO_MASK
        return NOTHING_STATED if one.case.labels is None and not one.marked else None

    def _finding(self, one: Surveyed, marked: Marked, number: int, seen: Seen) -> Scored | None:
        """A finding of a class of the model; one of unknown class belongs to the predicted one."""
        name = self._class_of(marked.label) if marked.label else seen.predicted or ""
        if name is None:
            self._excluded.append(Exclusion(one.case.name, NO_CLASS, marked.label))
            return None
        predicted = self._survey.predicted
        if predicted is None or one.probabilities is None:
            return Scored(Finding(number, name, marked.area), marked.mask, -1)
        index = predicted.classes.index(name)
        probability = one.probabilities[index]
        called = probability > 0.5 if predicted.independent else name == seen.predicted
        return Scored(Finding(number, name, marked.area, probability, called), marked.mask, index)

    def _seen(self, one: Surveyed) -> Seen:
        predicted, case = self._survey.predicted, one.case
        known = None if case.labels is None else tuple(filter(None, map(self._class_of, case.labels)))
        if case.labels and not known:  # an exclusive class that the model does not have: it has no right answer
            known = None
        probabilities = None
        if predicted is not None and one.probabilities is not None:
            probabilities = dict(zip(predicted.classes, one.probabilities, strict=True))
        return Seen(
            case.name,
            self._patients[case.name],
            known,
            case.split,
            case.groups,
            probabilities,
            _highest(predicted, one.probabilities),
        )

    def _class_of(self, label: str) -> str | None:
        """The model's class of a label; without a model, what the user maps it to."""
        predicted = self._survey.predicted
        if predicted is None:
            return self._labels.get(label, label)
        return matched(label, predicted.classes, self._labels)


def _highest(predicted: Predicted | None, probabilities: Sequence[float] | None) -> str | None:
    if predicted is None or probabilities is None:
        return None
    return predicted.classes[max(range(len(probabilities)), key=probabilities.__getitem__)]
