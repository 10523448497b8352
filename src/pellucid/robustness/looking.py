"""The images of a data set that are changed: what each is, its predicted class, its masks, and its partner."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from pellucid.evaluation.case import Data, Exclusion
from pellucid.evaluation.data.findings import matched
from pellucid.evaluation.scoring.frame import unpacked
from pellucid.evaluation.scoring.network import Network, Predicted
from pellucid.evaluation.scoring.opening import Images, opened_in_chunks
from pellucid.evaluation.scoring.partners import partners
from pellucid.evaluation.scoring.seen import Seen
from pellucid.evaluation.scoring.survey import Progress, Surveyed, one_space
from pellucid.models.preprocessing import Preprocessing
from pellucid.robustness.scorer import Chunk


@dataclass(frozen=True, eq=False)
class Looked:
    """N images that were looked at once: ``cases`` with their ``patients`` and predicted ``classes``.

    ``masks`` are the packed masks of the predicted class by image, of those that have one; ``partner`` is the number of
    an image of another patient with the same class, −1 where there is none.
    """

    cases: Sequence[Surveyed]
    patients: Sequence[str]
    classes: Sequence[int]
    masks: Mapping[int, Sequence[bytes]]
    partner: Sequence[int]
    space: tuple[int, ...]
    predicted: Predicted
    preprocessing: Preprocessing
    seed: int
    excluded: Sequence[Exclusion]
    failures: Sequence[Exclusion]
    notes: Sequence[str]
    patients_stated: bool

    @classmethod
    def of(cls, data: Data, network: Network, labels: Mapping[str, str], seed: int, progress: Progress) -> Looked:
        """Look at each image, by one pass of the model for each.

        Raises:
            DataError: no image can be used.
            OptionError: images differ in size, or a label stands for what is no class.
        """
        seen = Seen.of(data, network, labels, progress)
        cases = seen.cases
        classes = [_most_probable(one) for one in cases]
        patients = [seen.patients[one.case.name] for one in cases]
        masks = [_masks(one, index, seen.predicted, labels) for one, index in zip(cases, classes, strict=True)]
        return cls(
            cases,
            patients,
            classes,
            {number: own for number, own in enumerate(masks) if own},
            _partners(patients, classes, seed),
            one_space(cases, "maps of different images can only be compared"),
            seen.predicted,
            network.preprocessing,
            seed,
            seen.excluded,
            seen.failures,
            seen.notes,
            seen.patients_stated,
        )

    def opened(self, chunks: Sequence[Sequence[int]]) -> Iterator[Images]:
        """The images of each chunk, and their partners."""
        both = [[*chunk, *(self.partner[number] for number in chunk if self.partner[number] >= 0)] for chunk in chunks]
        return opened_in_chunks(both, lambda number: self.cases[number].case, self.preprocessing, self.space)

    def chunk(self, numbers: Sequence[int], images: Images) -> Chunk:
        """Some of the images."""
        nothing = torch.zeros(self.space, dtype=torch.bool)
        masks = [[unpacked(one, self.space) for one in self.masks.get(number, ())] for number in numbers]
        return Chunk(
            [self.cases[number].case.name for number in numbers],
            [images[number] for number in numbers],
            torch.tensor([self.classes[number] for number in numbers]),
            torch.stack([torch.stack([nothing, *own]).any(0) for own in masks]),
            torch.tensor([bool(own) for own in masks]),
            [images.get(self.partner[number]) for number in numbers],
            [self._seed(number) for number in numbers],
        )

    def key(self, number: int) -> list[object]:
        """All that the record of an image depends on, beside what is asked of all."""
        one, other = self.cases[number], self.partner[number]
        masks = [hashlib.sha256(mask).hexdigest() for mask in self.masks.get(number, ())]
        return [
            one.content,
            self.classes[number],
            self._seed(number),
            masks,
            self.cases[other].content if other >= 0 else "",
        ]

    def _seed(self, number: int) -> int:
        """The seed of an image's random numbers, which does not depend on the other images."""
        text = f"{self.seed} {self.cases[number].case.name}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:7])


def _most_probable(one: Surveyed) -> int:
    probabilities = one.probabilities or ()
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def _masks(one: Surveyed, index: int, predicted: Predicted, labels: Mapping[str, str]) -> list[bytes]:
    """The masks of an image's predicted class that are not empty; those of unknown class are of the predicted one."""
    own = predicted.classes[index]
    return [
        marked.mask
        for marked in one.marked
        if marked.area and (not marked.label or matched(marked.label, predicted.classes, labels) == own)
    ]


def _partners(patients: Sequence[str], classes: Sequence[int], seed: int) -> list[int]:
    """For each image the number of another patient's with the same class, −1 where there is none."""
    found = [-1] * len(patients)
    each: dict[int, list[int]] = defaultdict(list)
    for number, index in enumerate(classes):
        each[index].append(number)
    for numbers in each.values():
        for place, other in enumerate(partners([patients[number] for number in numbers], seed).tolist()):
            found[numbers[place]] = numbers[other] if other >= 0 else -1
    return found
