"""Scores a data set by a published recipe, for figures that can be set beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.random import RandomState
from torch import Tensor

from pellucid.core.image import Image
from pellucid.errors import OptionError, did_you_mean
from pellucid.evaluation.protocols.chexlocalize import Protocol, chexlocalize
from pellucid.evaluation.protocols.localised import Localised, localised
from pellucid.evaluation.scoring.maps import made
from pellucid.evaluation.scoring.measuring import Looked
from pellucid.evaluation.scoring.opening import Images
from pellucid.evaluation.scoring.survey import Progress, silent

PROTOCOLS = ("chexlocalize",)
CALLED = 0.5
"""The probability from which a finding is called where classes are independent."""


def check_protocol(name: str | None) -> None:
    """Raise ``OptionError`` for a recipe that there is not."""
    if name is not None and name not in PROTOCOLS:
        hint = did_you_mean(name, PROTOCOLS) or f"; there are {', '.join(PROTOCOLS)}"
        raise OptionError(f"protocol {name!r} was asked for; no protocol has that name{hint}")


def by_chexlocalize(looked: Looked, progress: Progress = silent) -> dict[str, Protocol]:
    """CheXlocalize's figures of each method: maps of every class of the findings, in every image of the test split.

    Thresholds are tuned on the images of the plan's choose split; without any, only Otsu's is used. A class is called
    where it is the predicted one, or above .5 where classes are independent.

    Raises:
        OptionError: the images are volumes.
    """
    if len(looked.batches.space) != 2:
        raise OptionError(
            "protocol 'chexlocalize' was asked for; it is one of images, and these are volumes: leave it out"
        )
    scored = sorted(
        {looked.batches.image_of(row) for row in range(len(looked.batches.numbers))} | {*looked.batches.without}
    )
    seen = looked.batches.found.images
    others = [number for number, one in enumerate(seen) if one.split in looked.plan.choose and number not in scored]
    scoring = _Published(looked)
    each = {name: scoring.localised(numbers, progress) for name, numbers in (("test", scored), ("choose", others))}
    return {
        method: chexlocalize(each["test"][method], generator=RandomState(0), validation=each["choose"].get(method, ()))
        for method in looked.scorer.asked.of_methods
    }


@dataclass(frozen=True, eq=False)
class _Published:
    """Localises the maps of a data set's images, a few at a time."""

    looked: Looked

    def localised(self, numbers: Sequence[int], progress: Progress) -> dict[str, list[Localised]]:
        """What the recipe needs of images, by method."""
        size, batches = self.looked.size, self.looked.batches
        chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]
        found: dict[str, list[Localised]] = {}
        for index, images in enumerate(batches.opened(chunks)):
            for method, each in self._chunk(chunks[index], images).items():
                found.setdefault(method, []).extend(each)
            progress("scoring by the recipe", min(len(numbers), (index + 1) * size), len(numbers))
        return found

    def _chunk(self, numbers: Sequence[int], images: Images) -> dict[str, list[Localised]]:
        batches, scorer = self.looked.batches, self.looked.scorer
        found: dict[str, list[Localised]] = {method: [] for method in scorer.asked.of_methods}
        for index, label in batches.labels:
            batch = batches.of_class(numbers, index, label, images)
            for method, each in found.items():
                heat = made(method, scorer.asked, scorer.network, batch, scorer.seed).maps["heatmaps"]
                for number, one in zip(numbers, heat, strict=True):
                    if bool(one.isfinite().all()):
                        each.append(self._one(number, label, images[number], one))
        return found

    def _one(self, number: int, label: str, image: Image, heat: Tensor) -> Localised:
        """How a map fits the mask on the image as it was read; without a finding of the class the mask is empty."""
        seen, masks = self.looked.batches.found.images[number], self._masks(number, label, image)
        mask = torch.stack(masks).any(0) if masks else torch.zeros(image.original.size, dtype=torch.bool)
        whole = image.geometry.restore(heat[None, None])[0, 0]
        return localised(seen.name, label, whole, mask, self._is_called(number, label))

    def _masks(self, number: int, label: str, image: Image) -> list[Tensor]:
        """The masks of a class on the image as it was read; those that cannot be used were counted before."""
        found = self.looked.batches.found
        kept = {one.label for one in found.surveyed[number].marked}
        case = found.surveyed[number].case
        own = [name for name in case.findings if name in kept and found.classes.get(name) == label]
        return [case.findings[name].mask(image.original) for name in own]

    def _is_called(self, number: int, label: str) -> bool:
        seen, predicted = self.looked.batches.found.images[number], self.looked.survey.predicted
        if seen.probabilities is None or predicted is None:
            return True
        return seen.probabilities[label] > CALLED if predicted.independent else seen.predicted == label
