"""Scores of images without what each map marks, and of nothing but what it marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def measured(
    subjects: Subjects, maps: Maps, fillings: Mapping[str, Filling], fractions: Sequence[float], insertion: bool
) -> Measured:
    """Measure all pairs by all replacements, a batch of images at a time."""
    found: dict[str, list[Array]] = {}
    for start, stop in chunks(len(subjects), subjects.session.runtime.batch_size):
        for name, values in _batch(subjects, maps, fillings, fractions, insertion, start, stop).items():
            found.setdefault(name, []).append(values)
    joined = {name: np.concatenate(parts, axis=-1) for name, parts in found.items()}

    def of(kind: str) -> dict[str, Array]:
        return {name: joined[f"{kind} {name}"] for name in fillings if f"{kind} {name}" in joined}

    return Measured(tuple(fractions), joined["plain"], of("whole"), of("deleted"), of("inserted"))


def wholes(subjects: Subjects, fillings: Mapping[str, Filling]) -> Measured:
    """The scores of the images, and with every pixel replaced."""
    return measured(subjects, Maps((), ()), fillings, (), insertion=False)


def _batch(
    subjects: Subjects,
    maps: Maps,
    fillings: Mapping[str, Filling],
    fractions: Sequence[float],
    insertion: bool,
    start: int,
    stop: int,
) -> dict[str, Array]:
    numbers = torch.arange(start, stop)
    inputs = subjects.prepared(numbers)
    images = inputs.images
    marked = [_marked(heat, fractions) for heat in maps.each(subjects, inputs, subjects.targets.images(start, stop))]
    found = {"plain": subjects.scores(images, numbers).numpy()}
    for name, filling in fillings.items():
        filled = filling(images, numbers)
        found[f"whole {name}"] = _mean(subjects, filled, numbers, None, inside=False)
        kinds = {"deleted": False, "inserted": True} if insertion else {"deleted": False}
        for kind, inside in kinds.items() if marked else ():
            each = [[_mean(subjects, filled, numbers, hole, inside=inside) for hole in holes] for holes in marked]
            found[f"{kind} {name}"] = np.array(each)
    return found


def _marked(heat: Tensor, fractions: Sequence[float]) -> list[Tensor]:
    """Where heatmaps (N, *space) have their highest values above 0, for each fraction: at least one pixel."""
    order = ranks(heat, torch.Generator().manual_seed(0))
    pixels = heat[:1].numel()
    counts = [torch.full((len(heat),), max(1, round(fraction * pixels)), device=heat.device) for fraction in fractions]
    return [among_first(order, count) & (heat > 0) for count in counts]


def _mean(subjects: Subjects, filled: Filled, numbers: Tensor, holes: Tensor | None, *, inside: bool) -> Array:
    """The mean score (N,) over the draws of a replacement; ``holes`` None replaces everything."""
    scores = []
    for draw in range(filled.draws):
        if holes is None:
            images = filled.whole(draw)
        else:
            images = filled.within(holes, draw) if inside else filled.without(holes, draw)
        scores.append(subjects.scores(images, numbers))
    found: Array = torch.stack(scores).mean(0).numpy()
    return found
