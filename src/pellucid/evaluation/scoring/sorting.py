"""What is scored: the findings of the images, the images without one, and why others are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pellucid.errors import OptionError, did_you_mean
from pellucid.evaluation.case import Case, Exclusion
from pellucid.evaluation.data.findings import matched, settled
from pellucid.evaluation.measured import Finding, Seen
from pellucid.evaluation.scoring.network import Predicted
from pellucid.evaluation.scoring.survey import Marked, Survey, Surveyed
from pellucid.io.refusal import one_line

_SHOWN = 20
"""So many classes are named in a message."""
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

    ``surveyed`` are the images as they were looked at, in the order of ``images``; ``classes`` says which class a label
    of the data set stands for.
    """

    images: tuple[Seen, ...]
    surveyed: tuple[Surveyed, ...]
    findings: tuple[Scored, ...]
    without: tuple[int, ...]
    excluded: tuple[Exclusion, ...]
    classes: Mapping[str, str]


def check_labels(labels: Mapping[str, str], predicted: Predicted | None) -> None:
    """Raise ``OptionError`` if a label is said to stand for what is no class of the model."""
    if predicted is None:
        return
    for label, name in labels.items():
        if matched(name, predicted.classes, {}) is None:
            hint = did_you_mean(name, predicted.classes) or f"; there are {some_of(predicted.classes)}"
            raise OptionError(f"the label {label!r} was said to stand for {name!r}; the model has no such class{hint}")


def some_of(classes: Sequence[str]) -> str:
    """The first classes of a model by name, for a message."""
    return one_line(", ".join(classes[:_SHOWN]) + (", …" if len(classes) > _SHOWN else ""))


def sorted_out(
    survey: Survey, patients: Mapping[str, str], labels: Mapping[str, str], excluded: Sequence[Exclusion]
) -> Sorted:
    """Decide for each image whether it has findings, has none, or is left out.

    ``patients`` are the images' patients by the case's name, ``labels`` the classes that labels stand for, and
    ``excluded`` what was left out before. ``settled`` says when an image has no finding.
    """
    return _Sorting(survey, patients, labels, excluded).done()


class _Sorting:
    """Sorts one image after the other."""

    def __init__(
        self, survey: Survey, patients: Mapping[str, str], labels: Mapping[str, str], excluded: Sequence[Exclusion]
    ) -> None:
        self._survey, self._patients, self._labels = survey, patients, labels
        # Of the same file twice only the first is kept.
        self._cases = [one for one in survey.cases if one.case.name in patients]
        broken = [exclusion for one in self._cases for exclusion in one.excluded]
        left, self._free, unclear = settled(*_opened(self._cases))
        self._left = {case.name for case in left}
        self._excluded = [*excluded, *survey.excluded, *broken, *unclear]

    def done(self) -> Sorted:
        """The images that have findings, and those without one, in the order of the data set."""
        free = {case.name for case in self._free}
        images: list[Seen] = []
        surveyed: list[Surveyed] = []
        findings: list[Scored] = []
        without: list[int] = []
        for one in self._cases:
            seen, number = self._seen(one), len(images)
            each = [self._finding(one, marked, number, seen) for marked in one.marked if marked.area]
            own = [finding for finding in each if finding is not None]
            is_free = one.case.name in free
            if is_free or (own and one.case.name in self._left):
                images.append(seen)
                surveyed.append(one)
                findings += [] if is_free else own
                without += [number] if is_free else []
        return Sorted(
            tuple(images), tuple(surveyed), tuple(findings), tuple(without), tuple(self._excluded), self._classes()
        )

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
        is_exclusive = predicted is not None and not predicted.independent
        if case.labels and not known and is_exclusive:  # a class that the model does not have: no answer is right
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

    def _classes(self) -> dict[str, str]:
        labels = dict.fromkeys(marked.label for one in self._cases for marked in one.marked)
        return {label: name for label in labels if (name := self._class_of(label)) is not None}

    def _class_of(self, label: str) -> str | None:
        """The model's class of a label; without a model, what the user maps it to."""
        predicted = self._survey.predicted
        if predicted is None:
            return matched(label, [*dict.fromkeys(self._labels.values()), label], self._labels)
        return matched(label, predicted.classes, self._labels)


def _opened(cases: Sequence[Surveyed]) -> tuple[list[Case], dict[str, list[str]]]:
    """The cases with the findings whose masks could be used, and the labels of empty masks by the case's name.

    A case none of whose masks could be used is left out: whether it has a finding is not known.
    """
    usable = [one for one in cases if one.marked or not one.excluded]
    known = [
        replace(one.case, findings={marked.label: one.case.findings[marked.label] for marked in one.marked})
        for one in usable
    ]
    return known, {one.case.name: [marked.label for marked in one.marked if not marked.area] for one in usable}


def _highest(predicted: Predicted | None, probabilities: Sequence[float] | None) -> str | None:
    if predicted is None or probabilities is None:
        return None
    return predicted.classes[max(range(len(probabilities)), key=probabilities.__getitem__)]
