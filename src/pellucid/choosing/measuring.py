"""Scores of images without what each map marks, and of nothing but what it marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.choosing.fillings import Filled, Filling
from pellucid.choosing.maps import Maps
from pellucid.choosing.subjects import Subjects
from pellucid.core.inputs import chunks
from pellucid.core.ranking import among_first, ranks

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of the pairs, image by image.

    ``plain`` (P,) are the scores of the images, ``whole[replacement]`` (P,) those with every pixel replaced.
    ``deleted[replacement]`` and ``inserted[replacement]`` (pairs, fractions, P) are the scores without the marked
    fraction of the pixels, and with nothing but it. What was not asked for is not there.
    """

    fractions: tuple[float, ...]
    plain: Array
    whole: Mapping[str, Array]
    deleted: Mapping[str, Array]
    inserted: Mapping[str, Array]


Making = Callable[[Filled, Tensor, int], Tensor]
Kinds = Mapping[str, Making]
DELETION: Kinds = {"deleted": lambda filled, marked, draw: filled.without(marked, draw)}
BOTH: Kinds = {**DELETION, "inserted": lambda filled, marked, draw: filled.within(marked, draw)}
"""What is scored of an image and what a map marks."""


def wholes(subjects: Subjects, fillings: Mapping[str, Filling]) -> Measured:
    """The scores of the images, and with every pixel replaced."""
    found: dict[str, list[Array]] = {name: [] for name in fillings}
    for numbers in batches(subjects):
        images = subjects.prepared(numbers).images
        for name, filling in fillings.items():
            filled = filling(images, numbers)
            found[name].append(_mean(subjects, numbers, [filled.whole(draw) for draw in range(filled.draws)]))
    return Measured((), subjects.plain().numpy(), {name: np.concatenate(each) for name, each in found.items()}, {}, {})


def measured(
    subjects: Subjects,
    whole: Measured,
    maps: Maps,
    fillings: Mapping[str, Filling],
    fractions: Sequence[float],
    kinds: Kinds,
) -> Measured:
    """Measure all pairs by all replacements, a batch of images at a time; ``whole`` is what ``wholes`` found."""
    found: dict[str, dict[str, list[Array]]] = {
        kind: {name: [] for name in fillings} for kind in ("deleted", "inserted")
    }
    for numbers in batches(subjects):
        inputs, targets = subjects.prepared(numbers), subjects.targets.rows(numbers)
        marked = [_marked(heat, fractions) for heat in maps.each(subjects, inputs, targets)]
        for name, filling in fillings.items():
            filled = filling(inputs.images, numbers)
            for kind, make in kinds.items():
                found[kind][name].append(_scores(subjects, numbers, filled, marked, make))
    deleted, inserted = (
        {name: np.concatenate(parts, axis=-1) for name, parts in of.items() if parts} for of in found.values()
    )
    used = {name: whole.whole[name] for name in fillings}
    return Measured(tuple(fractions), whole.plain, used, deleted, inserted)


def batches(subjects: Subjects) -> Iterator[Tensor]:
    """The numbers of the images of each batch."""
    for start, stop in chunks(len(subjects), subjects.session.runtime.batch_size):
        yield torch.arange(start, stop)


def _scores(
    subjects: Subjects, numbers: Tensor, filled: Filled, marked: Sequence[Sequence[Tensor]], make: Making
) -> Array:
    """The mean scores over the draws, (pairs, fractions, N)."""

    def mean(hole: Tensor) -> Array:
        return _mean(subjects, numbers, [make(filled, hole, draw) for draw in range(filled.draws)])

    return np.array([[mean(hole) for hole in holes] for holes in marked])


def _marked(heat: Tensor, fractions: Sequence[float]) -> list[Tensor]:
    """Where heatmaps (N, *space) have their highest values above 0, for each fraction: at least one pixel."""
    order = ranks(heat, torch.Generator().manual_seed(0))
    pixels = heat[:1].numel()
    counts = [torch.full((len(heat),), max(1, round(fraction * pixels)), device=heat.device) for fraction in fractions]
    return [among_first(order, count) & (heat > 0) for count in counts]


def _mean(subjects: Subjects, numbers: Tensor, variants: Sequence[Tensor]) -> Array:
    """The mean score (N,) over variants (N, C, *space) of some images."""
    found: Array = torch.stack([subjects.scores(images, numbers) for images in variants]).mean(0).numpy()
    return found
