"""From scores to grades: how much of what the whole image's replacement does the marked pixels do alone.

Everything here is a pure function of arrays, and is tried without a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.stats import spearmanr

from pellucid.choosing.measuring import Array, Measured
from pellucid.statistics.intervals import Interval
from pellucid.statistics.means import mean

SPLITS = 20
"""Random halves of the images in which grades are compared."""


@dataclass(frozen=True, eq=False)
class Grades:
    """The grades of pairs: ``values`` (pairs,), and each image's part ``parts`` (pairs, P), whose mean is the grade."""

    values: Array
    parts: Array

    def interval(self, pair: int, patients: Sequence[object] | None, generator: Generator) -> Interval:
        """A grade with its interval, by patient."""
        return mean(self.parts[pair], patients, generator=generator)

    def difference(self, one: int, other: int, patients: Sequence[object] | None, generator: Generator) -> Interval:
        """How much better one pair is than another, image by image."""
        return mean(self.parts[one] - self.parts[other], patients, generator=generator)


def grades(found: Measured, replacements: Sequence[str]) -> Grades:
    """The grade of each pair.

    Of one replacement and fraction f, over the images x with scores s::

        D(f) = Σ (s(x) − s(x without the marked f)) / Σ (s(x) − s(x replaced as a whole))
        I(f) = Σ (s(nothing but the marked f) − s(x replaced as a whole)) / Σ (s(x) − s(x replaced as a whole))
        grade = Σ D(f)/f / Σ 1/f, or with insertion the mean of that and of the same of I(f)

    and the mean over the replacements. Sums are taken before they are divided, as ratios of single images are unstable.
    A fraction's weight is 1/f: each grade is what a replaced pixel does, and small areas tell maps apart where large
    ones contain the finding in all of them. An image's part of the grade is what it adds to it, by the linear expansion
    of the ratio.
    """
    weights = np.array([1 / fraction for fraction in found.fractions])
    weights = weights / weights.sum()
    parts = [_parts(found, name, weights) for name in replacements]
    each: Array = np.mean(parts, axis=0)
    return Grades(each.mean(axis=1), each)


def _parts(found: Measured, name: str, weights: Array) -> Array:
    """Each image's part (pairs, P) of the grades by one replacement."""
    whole = found.plain - found.whole[name]
    kinds = [found.plain - found.deleted[name]]
    if name in found.inserted:
        kinds.append(found.inserted[name] - found.whole[name])
    done = np.mean([np.einsum("pfi,f->pi", one, weights) for one in kinds], axis=0)
    ratio = done.sum(axis=1, keepdims=True) / whole.sum()
    expanded: Array = ratio + (done - ratio * whole) / whole.mean()
    return expanded


def agreement(found: Measured, name: str, generator: Generator) -> float:
    """How alike two halves of the images rank the pairs: the mean rank correlation over random halves; NaN of one."""
    count = len(found.plain)
    if count < 4 or len(found.deleted[name]) < 3:
        return float("nan")
    values = []
    for _ in range(SPLITS):
        order = generator.permutation(count)
        halves = [part_of(found, name, order[: count // 2]), part_of(found, name, order[count // 2 :])]
        values.append(float(spearmanr(*halves).statistic) if all(np.ptp(half) > 0 for half in halves) else 0.0)
    return float(np.mean(values))


def part_of(found: Measured, name: str, chosen: NDArray[np.intp]) -> Array:
    """The grades of the pairs by one replacement on some of the images."""
    some = Measured(
        found.fractions,
        found.plain[chosen],
        {name: found.whole[name][chosen]},
        {name: found.deleted[name][..., chosen]},
        {name: found.inserted[name][..., chosen]} if name in found.inserted else {},
    )
    return grades(some, [name]).values
