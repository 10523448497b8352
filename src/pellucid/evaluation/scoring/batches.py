"""Findings, and images without one, a few at a time: with their images, masks and the key of what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.evaluation.data.made_before import of_classes
from pellucid.evaluation.scoring.frame import packed, unpacked
from pellucid.evaluation.scoring.maps import Batch
from pellucid.evaluation.scoring.mean_masks import MeanMasks
from pellucid.evaluation.scoring.opening import Images, opened_in_chunks
from pellucid.evaluation.scoring.scorer import Wanted
from pellucid.evaluation.scoring.shuffled import Shuffled
from pellucid.evaluation.scoring.sorting import Scored, Sorted
from pellucid.evaluation.scoring.survey import Surveyed
from pellucid.evaluation.scoring.tolerance import Tolerance
from pellucid.io.refusal import digest
from pellucid.models.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Batches:
    """What is scored: ``numbers`` are the findings of the test split, among all of ``found``, ``without`` its images.

    ``chosen`` are the findings of the choose split: thresholds are tuned on their overlaps.

    ``partners`` (N, shuffles) are indices among ``numbers`` of findings of other patients. The gates measure the first
    ``gated`` findings.
    """

    found: Sorted
    numbers: Sequence[int]
    without: Sequence[int]
    partners: npt.NDArray[np.int64]
    space: tuple[int, ...]
    tolerance: Tolerance
    preprocessing: Preprocessing
    gated: int
    chosen: Sequence[int] = ()

    @property
    def partner(self) -> npt.NDArray[np.int64]:
        """The partners (N,) of the first shuffle, which the verdicts of negative controls rest on."""
        return self.partners[:, 0]

    def opened(self, chunks: Sequence[Sequence[int]]) -> Iterator[Images]:
        """The images of each chunk of images' numbers, read ahead."""
        return opened_in_chunks(chunks, lambda number: self.found.surveyed[number].case, self.preprocessing, self.space)

    def image_of(self, row: int) -> int:
        """The image's number of a finding that is scored."""
        return self._finding(row).finding.image

    def mask_of(self, row: int) -> bytes:
        """The mask of a finding that is scored, packed."""
        return self._finding(row).mask

    def class_name(self, index: int) -> str:
        """The name of a class, as findings have it; "" for −1."""
        return next((one.finding.label for one in self.found.findings if one.index == index), "")

    def of_findings(self, rows: Sequence[int], images: Images) -> tuple[Batch, Wanted]:
        """Some findings, by their index among ``numbers``."""
        each = [self._finding(row) for row in rows]
        partners = [row if other < 0 else other for row, other in zip(rows, self.partner[rows].tolist(), strict=True)]
        wanted = Wanted(
            torch.stack([unpacked(one.mask, self.space) for one in each]),
            torch.stack([self._widened(row) for row in rows]),
            Shuffled(self._partner_masks, self.partners[list(rows)]),
            self._mean_masks([self.image_of(partner) for partner in partners]),
            torch.tensor([self.predicted(one.finding.image, one.index) for one in each]),
            torch.tensor([row < self.gated for row in rows]),
        )
        numbers, classes = [one.finding.image for one in each], [one.index for one in each]
        return self._batch(numbers, classes, [one.finding.label for one in each], images), wanted

    def of_chosen(self, numbers: Sequence[int], images: Images) -> tuple[Batch, Tensor]:
        """Some findings of the choose split, by their number among all, with their masks (P, *space)."""
        each = [self.found.findings[number] for number in numbers]
        masks = torch.stack([unpacked(one.mask, self.space) for one in each])
        labels = [one.finding.label for one in each]
        batch = self._batch([one.finding.image for one in each], [one.index for one in each], labels, images)
        return batch, masks

    def of_images(self, numbers: Sequence[int], images: Images) -> Batch:
        """Some images without a finding, whose explained class is the most probable one of those that are found."""
        classes = [self._suspected(number) for number in numbers]
        return self._batch(numbers, classes, [self.class_name(index) for index in classes], images)

    def of_class(self, numbers: Sequence[int], index: int, label: str, images: Images) -> Batch:
        """Some images, all with the same class explained."""
        return self._batch(numbers, [index] * len(numbers), [label] * len(numbers), images)

    @cached_property
    def labels(self) -> list[tuple[int, str]]:
        """The classes of the findings that are scored: their number, −1 without a model, and their name."""
        each = [self._finding(row) for row in range(len(self.numbers))]
        return sorted({(one.index, one.finding.label) for one in each})

    def predicted(self, image: int, otherwise: int) -> int:
        """The number of an image's predicted class; without a model, ``otherwise``."""
        probabilities = self.found.surveyed[image].probabilities
        return otherwise if probabilities is None else int(np.argmax(probabilities))

    def key_of_finding(self, row: int) -> list[Any]:
        """All that the scores of a finding depend on, beside the request and the masks of the others."""
        one = self._finding(row)
        partners = [b"" if other < 0 else self._finding(other).mask for other in self.partners[row].tolist()]
        image = self.found.surveyed[one.finding.image]
        masks = [_sha(one.mask), *map(_sha, partners), image.spacing]
        own = [one.index, self.predicted(one.finding.image, one.index), row < self.gated]
        return [image.content, masks, own, _files(image)]

    def key_of_chosen(self, number: int) -> list[Any]:
        """All that the overlaps of a finding of the choose split depend on, likewise."""
        one = self.found.findings[number]
        image = self.found.surveyed[one.finding.image]
        return [image.content, _sha(one.mask), one.index, _files(image)]

    def key_of_image(self, number: int) -> list[Any]:
        """All that the heat of an image without a finding depends on, likewise."""
        image = self.found.surveyed[number]
        return [image.content, self._suspected(number), _files(image)]

    @cached_property
    def masks_digest(self) -> str:
        """A digest of all masks, with their patients, of which the mean mask is made."""
        images = self.found.images
        each = [(images[one.finding.image].patient, _sha(one.mask)) for one in self.found.findings]
        scored = [*self.numbers, *self.without]
        return _sha(json.dumps([each, scored, self.space]).encode())

    @cached_property
    def mean_masks(self) -> MeanMasks:
        """The mean masks: of the images of other splits, or of the other patients."""
        own = {self.image_of(row) for row in range(len(self.numbers))}
        masks: dict[int, list[bytes]] = {}
        for one in self.found.findings:
            masks.setdefault(one.finding.image, []).append(one.mask)
        each = [(number, self.found.images[number].patient, self._union(parts)) for number, parts in masks.items()]
        return MeanMasks(
            [(patient, mask) for number, patient, mask in each if number in own],
            self.space,
            [(patient, mask) for number, patient, mask in each if number not in own],
        )

    def _finding(self, row: int) -> Scored:
        return self.found.findings[self.numbers[row]]

    def _union(self, masks: Sequence[bytes]) -> bytes:
        if len(masks) == 1:
            return masks[0]
        return packed(torch.stack([unpacked(mask, self.space) for mask in masks]).any(0))

    def _widened(self, row: int) -> Tensor:
        if row not in self._known:
            one = self._finding(row)
            spacing = self.found.surveyed[one.finding.image].spacing
            self._known[row] = packed(self.tolerance.widened(unpacked(one.mask, self.space), spacing))
        return unpacked(self._known[row], self.space)

    @cached_property
    def _known(self) -> dict[int, bytes]:
        """The widened masks that were made, packed: each is the partner of several findings."""
        return {}

    def _partner_masks(self, others: Sequence[int]) -> Tensor:
        """The widened masks (P, *space) of findings, nothing for −1."""
        nothing = torch.zeros(self.space, dtype=torch.bool)
        return torch.stack([nothing if other < 0 else self._widened(other) for other in others])

    def _mean_masks(self, numbers: Sequence[int]) -> Tensor:
        """The mean masks (P, *space) for images; NaN where no other patient has a mask."""
        usual = [self.mean_masks.of(self.found.images[number].patient) for number in numbers]
        nothing = torch.full(self.space, torch.nan)
        return torch.stack([nothing if one is None else one for one in usual])

    def _batch(self, numbers: Sequence[int], classes: Sequence[int], labels: Sequence[str], images: Images) -> Batch:
        return Batch(
            [images[number] for number in numbers],
            torch.tensor(classes),
            labels,
            self._mean_masks(numbers),
            [self.found.surveyed[number].case.maps for number in numbers],
        )

    @cached_property
    def _classes(self) -> list[int]:
        return sorted({one.index for one in self.found.findings})

    def _suspected(self, number: int) -> int:
        probabilities = self.found.surveyed[number].probabilities
        return -1 if probabilities is None else max(self._classes, key=probabilities.__getitem__)


def _files(image: Surveyed) -> dict[str, list[str]]:
    """Digests of the files of maps made before."""
    return {name: [digest(one) for one in _each(path)] for name, path in image.case.maps.items()}


def _each(path: Path) -> list[Path]:
    """The file of a path, or the archives of several classes that it stands for."""
    return [path] if path.is_file() else sorted(of_classes(path))


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
