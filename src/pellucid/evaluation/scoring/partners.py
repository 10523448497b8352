"""A finding of another patient for each finding: what negative controls score maps on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SHUFFLES = 20
"""So many shuffles are scored: the result of a single one is chance in part."""


def shuffles(patients: Sequence[str], seed: int, count: int = SHUFFLES) -> npt.NDArray[np.int64]:
    """Several shuffles (N, count), the first of which is ``partners`` with the seed alone.

    >>> shuffles(list("abcd"), seed=0).shape
    (4, 20)
    """
    return np.stack([partners(patients, [seed, number] if number else seed) for number in range(count)], axis=1)


def partners(patients: Sequence[str], seed: int | Sequence[int]) -> npt.NDArray[np.int64]:
    """For each of N findings the index of one of another patient, (N,); each is the partner of one at most.

    Findings are put in a row in random order, those of a patient side by side, and each gets the one that is as many
    places on as the largest patient has findings. A patient of more than half of all findings cannot be avoided: who
    would get one of its own patient gets none, −1.

    >>> found = partners(["a", "a", "b", "c"], seed=0)
    >>> sorted(found.tolist()), [["a", "a", "b", "c"][other] for other in found[:2]]
    ([0, 1, 2, 3], ['c', 'b'])
    """
    generator = np.random.default_rng(seed)
    names = list(dict.fromkeys(patients))
    place = dict(zip(names, generator.permutation(len(names)).tolist(), strict=True))
    order = sorted(generator.permutation(len(patients)).tolist(), key=lambda index: place[patients[index]])
    found = np.full(len(patients), -1, dtype=np.int64)
    step = max(Counter(patients).values(), default=0)
    for position, index in enumerate(order):
        other = order[(position + step) % len(order)]
        if patients[other] != patients[index]:
            found[index] = other
    return found
