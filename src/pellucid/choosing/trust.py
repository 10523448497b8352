"""Whether a replacement can be trusted on these images: it lowers the score, and leaves images of their kind.

docs/choosing.md states the networks that the bounds were fixed on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from scipy import stats
from torch import Tensor

from pellucid.choosing.fillings import Filling, squares
from pellucid.choosing.grading import agreement, part_of
from pellucid.choosing.measuring import Array, Measured, batches
from pellucid.choosing.subjects import Subjects
from pellucid.core.choice import ReplacementTrial
from pellucid.core.likeness import alike
from pellucid.core.replacement import LEAST_FALL

LEAST_PART = 0.5
"""The part of the mean score that it must take away."""
FARTHEST = 2.0
"""The distance of features from those of other images, in units of the images' own, up to which it is of their kind."""
LEAST_AGREEMENT = 0.5
"""The rank correlation of the pairs' grades between halves of the images."""
PATCH = 0.1
"""The share of an image that is replaced, at a random place, where its features are compared."""


def trials(
    subjects: Subjects,
    whole: Measured,
    fillings: Mapping[str, Filling],
    layer: str,
    patients: Sequence[object] | None,
    seed: int,
) -> list[ReplacementTrial]:
    """How far each replacement lowers the score of whole images, and how far it moves the features of images."""
    distances = _distances(subjects, fillings, layer, same(subjects.inputs.images, patients), seed)
    return [_trial(name, whole, distances[name]) for name in fillings]


def _trial(name: str, whole: Measured, distance: float) -> ReplacementTrial:
    falls = whole.plain - whole.whole[name]
    score, fall = float(whole.plain.mean()), float(falls.mean())
    return ReplacementTrial(name, score, fall, distance, refused=_reason(falls, score, distance))


def _reason(falls: Array, score: float, distance: float) -> str:
    if falls.mean() <= 0:
        return "it does not lower the score"
    if lower_limit(falls) < LEAST_FALL:
        return f"it is not shown to lower the score by {LEAST_FALL}"
    if falls.mean() < LEAST_PART * score:
        return f"it takes away {falls.mean() / score:.2f} of the score, less than {LEAST_PART}"
    if not math.isfinite(distance):
        return "the images are of one patient, or nearly the same: nothing tells what others are like"
    if distance > FARTHEST:
        return f"the network takes such images for none of their kind ({distance:.1f} times as far, at most {FARTHEST})"
    return ""


def lower_limit(values: Array) -> float:
    """The lower end of the one-sided 95 % interval of a mean, by Student's t."""
    if len(values) < 2:
        return -float("inf")
    spread = float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean() - stats.t.ppf(0.95, len(values) - 1) * spread)


def same(images: Tensor, patients: Sequence[object] | None) -> Tensor:
    """Which images (P, P) bool are one patient's, or nearly the same: one with two findings is there twice."""
    found = alike(images, images).cpu()
    if patients is not None:
        found |= torch.tensor([[one == other for other in patients] for one in patients])
    return found.fill_diagonal_(True)


def _distances(
    subjects: Subjects, fillings: Mapping[str, Filling], layer: str, of_one: Tensor, seed: int
) -> dict[str, float]:
    """How far features of images with a replaced patch are from other images', over the images' own distance."""
    space = subjects.inputs.images.shape[2:]
    holes = squares(space, len(subjects), PATCH, torch.Generator().manual_seed(seed))
    known, changed = [], {name: list[Tensor]() for name in fillings}
    for numbers in batches(subjects):
        images = subjects.prepared(numbers).images
        known.append(subjects.features(images, numbers, layer))
        for name, filling in fillings.items():
            patched = filling(images, numbers).without(holes[numbers].to(images.device), 0)
            changed[name].append(subjects.features(patched, numbers, layer))
    own = torch.cat(known)
    usual = nearest(own, own, of_one).median()
    return {name: float(nearest(torch.cat(each), own, of_one).median() / usual) for name, each in changed.items()}


def nearest(features: Tensor, known: Tensor, same: Tensor) -> Tensor:
    """The distance (N,) of each image's features from those of the nearest *other* image; ``same`` (N, N) are none.

    Each feature is measured in its standard deviation over the known images; one that is the same in all is left out.
    """
    spread = known.std(0)
    used = spread > 1e-6 * known.abs().amax().clamp(min=1e-12)
    apart = torch.cdist(features[:, used] / spread[used], known[:, used] / spread[used])
    return apart.masked_fill(same, torch.inf).amin(1)


def agreed(trial: ReplacementTrial, found: Measured, generator: Generator) -> ReplacementTrial:
    """The trial with the agreement of halves, refused where there is too little."""
    value = agreement(found, trial.name, generator)  # NaN where there are too few pairs to be ranked
    refused = f"halves of the images rank the pairs differently ({value:.2f})" if value < LEAST_AGREEMENT else ""
    return replace(trial, agreement=value, refused=trial.refused or refused)


def is_ahead_of_chance(found: Measured, name: str, at_random: Array, able: Sequence[int], generator: Generator) -> bool:
    """Whether the marked pixels of the best pair that can be chosen do more than as many at random places.

    The best pair of one half of the images is judged on the other, and the other way round: the largest of many falls
    is large by chance alone. ``at_random`` (P,) are the scores with a box of the first fraction replaced, ``able`` the
    numbers of the pairs that can be chosen.
    """
    count = len(found.plain)
    order = generator.permutation(count)
    more = np.zeros(count)
    for own, other in ((order[: count // 2], order[count // 2 :]), (order[count // 2 :], order[: count // 2])):
        best = able[int(np.argmax(part_of(found, name, own)[list(able)]))]
        more[other] = (at_random - found.deleted[name][best, 0])[other]
    return lower_limit(more) > 0
