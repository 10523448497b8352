"""A data set as ``choose`` takes it: images with a class each, their masks, and those whose tissue replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pellucid.choosing.donors import DRAWS, LEAST, LOW
from pellucid.core.class_names import classes_named
from pellucid.core.replacement import References
from pellucid.errors import DataError, TargetError, did_you_mean
from pellucid.evaluation.case import Data, Exclusion
from pellucid.evaluation.data.findings import matched
from pellucid.evaluation.scoring.frame import unpacked
from pellucid.evaluation.scoring.network import Network, Predicted
from pellucid.evaluation.scoring.opening import opened_in_chunks
from pellucid.evaluation.scoring.seen import Seen
from pellucid.evaluation.scoring.survey import Progress, Surveyed, one_space, silent

MOST = 64
"""The most images that are taken of a data set unless more are asked for."""
_MOST_OTHERS = 200
_CHUNK = 32


@dataclass(frozen=True, eq=False)
class Cohort:
    """What ``choose`` is called with: ``images`` (P, C, *space), a class ``targets`` (P,) and a patient each.

    ``masks`` (P, *space) bool are those of the class, None where no image has one. ``reference`` are images without the
    classes, None if there are too few. ``excluded`` could not be used.
    """

    images: Tensor
    targets: Tensor
    patients: list[str]
    names: list[str]
    classes: tuple[str, ...]
    masks: Tensor | None
    reference: References | None
    excluded: tuple[Exclusion, ...]


@dataclass(frozen=True)
class Question:
    """What is asked of a data set.

    ``target`` is the class of all images, by name or number; None takes the stated label of each, or the predicted
    class of those of which nothing is stated. ``labels`` says which class a label stands for. At most ``most`` images
    are taken, drawn by ``seed``.
    """

    target: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    most: int = MOST
    seed: int = 0


def cohort_of(
    data: Data, network: Network, asked: Question, *, reference: Data | None = None, progress: Progress = silent
) -> Cohort:
    """Look at a data set by one pass of the network for each image, and take what a choice is measured on.

    Raises:
        DataError: no image can be used.
        OptionError: images differ in size, or a label stands for what is no class.
        TargetError: the target is no class.
    """
    looked = _Looked.of(data, network, asked, progress)
    items = looked.items()
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(asked.seed)).tolist()
    taken = [items[number] for number in sorted(order[: asked.most])]
    if not taken:
        raise DataError("no image shows a class of the model: give images with such labels, or a target")
    others = (
        looked.without(items) if reference is None else _Looked.of(reference, network, asked, progress).others(taken)
    )
    known = None if others is None else others.references(network)
    patients = [looked.patients[one.case.name] for one, _ in taken]
    images = looked.read([one for one, _ in taken], network)
    masks = [looked.mask(one, index) for one, index in taken]
    classes = torch.tensor([index for _, index in taken])
    if reference is None and known is not None and not _fits(known, images, classes, patients):
        known = None  # the user gave none, so it is left out
    return Cohort(
        images,
        classes,
        patients,
        [one.case.name for one, _ in taken],
        looked.predicted.classes,
        torch.stack(masks) if any(mask.any() for mask in masks) else None,
        known,
        tuple(dict.fromkeys((*looked.seen.excluded, *looked.seen.failures))),
    )


def _fits(reference: References, images: Tensor, classes: Tensor, patients: Sequence[object]) -> bool:
    """Whether a reference has tissue for every image."""
    _, missing = reference.drawn(images, classes, torch.Generator().manual_seed(0), patients)
    return not bool(missing.any())


@dataclass(frozen=True, eq=False)
class _Others:
    """Cases of a survey that may lend their tissue; ``apart``: patients of whom nothing is stated are others."""

    looked: _Looked
    cases: Sequence[Surveyed]
    apart: bool

    def references(self, network: Network) -> References:
        images = self.looked.read(self.cases, network)
        labels = torch.tensor([self.looked.shown(one) for one in self.cases])
        patients = self.looked.patients
        whose = [object() if self.apart and not one.case.patient else patients[one.case.name] for one in self.cases]
        return References(images, labels, DRAWS, whose)


@dataclass(frozen=True, eq=False)
class _Looked:
    """A data set that was looked at."""

    seen: Seen
    asked: Question

    @classmethod
    def of(cls, data: Data, network: Network, asked: Question, progress: Progress) -> _Looked:
        found = Seen.of(data, network, asked.labels, progress)
        one_space(found.cases, "tissue can only be replaced by that")
        return cls(found, asked)

    @property
    def cases(self) -> Sequence[Surveyed]:
        return self.seen.cases

    @property
    def patients(self) -> Mapping[str, str]:
        return self.seen.patients

    @property
    def predicted(self) -> Predicted:
        return self.seen.predicted

    @property
    def space(self) -> tuple[int, ...]:
        return self.cases[0].space

    def items(self) -> list[tuple[Surveyed, int]]:
        """The images with each class that is to be explained of them."""
        target = None if self.asked.target is None else self._number(self.asked.target)
        return [(one, index) for one in self.cases for index in self._explained(one, target)]

    def without(self, items: Sequence[tuple[Surveyed, int]]) -> _Others | None:
        """Those of which no class is explained; None if they are too few."""
        explained = {one.case.name for one, _ in items}
        return self._lending([one for one in self.cases if one.case.name not in explained], apart=False)

    def others(self, items: Sequence[tuple[Surveyed, int]]) -> _Others | None:
        """All of them but those that are explained, by their pixels."""
        scored = {one.content for one, _ in items}
        return self._lending([one for one in self.cases if one.content not in scored], apart=True)

    def _lending(self, cases: Sequence[Surveyed], *, apart: bool) -> _Others | None:
        order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(self.asked.seed)).tolist()
        return _Others(self, [cases[number] for number in order[:_MOST_OTHERS]], apart) if len(cases) >= LEAST else None

    def _explained(self, one: Surveyed, target: int | None) -> list[int]:
        stated = self._stated(one)
        if stated is None:
            return [self._most_probable(one) if target is None else target]
        if target is not None:
            return [target] if target in stated else []
        marked = self._outlined()
        return [index for index in stated if not marked or index in marked]

    def _outlined(self) -> set[int]:
        """The classes that have a mask in some image: a data set of lesions states of healthy tissue that it is one."""
        labels = {marked.label for one in self.cases for marked in one.marked if marked.area}
        return {index for label in labels if (index := self._class_of(label)) is not None}

    def _stated(self, one: Surveyed) -> list[int] | None:
        """The classes that an image is stated to show; None where nothing is stated."""
        labels = [*(one.case.labels or ()), *(marked.label for marked in one.marked if marked.area and marked.label)]
        if one.case.labels is None and not labels:
            return None
        return list(dict.fromkeys(index for label in labels if (index := self._class_of(label)) is not None))

    def shown(self, one: Surveyed) -> list[bool]:
        """Which classes an image shows: as stated, else those whose score is not low."""
        stated = self._stated(one)
        scores = one.probabilities or ()
        return [score > LOW if stated is None else index in stated for index, score in enumerate(scores)]

    def _class_of(self, label: str) -> int | None:
        name = matched(label, self.predicted.classes, self.asked.labels)
        return None if name is None else self.predicted.classes.index(name)

    def _number(self, target: str) -> int:
        classes = self.predicted.classes
        if target.isdecimal() and int(target) < len(classes):
            return int(target)
        found = classes_named(target, classes)
        if not found:
            raise TargetError(
                f"class {target!r} was asked for; there are {', '.join(classes)}{did_you_mean(target, classes)}"
            )
        return found[0]

    @staticmethod
    def _most_probable(one: Surveyed) -> int:
        scores = one.probabilities or ()
        return max(range(len(scores)), key=scores.__getitem__)

    def mask(self, one: Surveyed, index: int) -> Tensor:
        """Where an image shows a class, (*space) bool; a mask of unknown class is of the explained one."""
        own = [
            unpacked(marked.mask, self.space)
            for marked in one.marked
            if marked.area and (not marked.label or self._class_of(marked.label) == index)
        ]
        return torch.stack([torch.zeros(self.space, dtype=torch.bool), *own]).any(0)

    def read(self, cases: Sequence[Surveyed], network: Network) -> Tensor:
        """The images of some cases as the network takes them, (P, C, *space); one may be there several times."""
        chunks = [list(range(start, min(start + _CHUNK, len(cases)))) for start in range(0, len(cases), _CHUNK)]
        opened = opened_in_chunks(chunks, lambda number: cases[number].case, network.preprocessing, self.space)
        return torch.stack([images[number].values for images in opened for number in sorted(images)])
