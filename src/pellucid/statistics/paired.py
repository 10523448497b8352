"""Tests whether the first of two scores of the same cases is above the second, or below."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.distributions import Array, midp_binomial, poisson_binomial
from pellucid.statistics.samples import Patients, Sample, checked_generator, is_binary, sample

EXACT = 12
"""The number of patients with a difference up to which all 2^m signs are tried."""
FLIPS = 9999
CHUNK = 1 << 22
"""Signs that are held at a time."""


@dataclass(frozen=True)
class Comparison:
    """The difference of two scores of the same cases, and its one-sided p-values.

    ``difference`` is the mean of first − second. ``better`` is the p-value of "first is above second", ``worse`` of
    "first is below", both for the hypothesis that they are equal; 1 where no test is possible. ``test`` names the test.
    """

    difference: float
    better: float
    worse: float
    test: str
    count: int
    patients: int
    excluded: int

    @property
    def two_sided(self) -> float:
        """Twice the smaller p-value, at most 1."""
        return min(1.0, 2 * min(self.better, self.worse))


def compare(first: ArrayLike, second: ArrayLike, patients: Patients = None, *, generator: Generator) -> Comparison:
    """Test whether the first scores (N,) are above or below the second ones; larger is better.

    - Hits against hits, one case a patient: McNemar's test with the mid-p value (Fagerland et al. 2013,
      doi:10.1186/1471-2288-13-91). Of the cases on which they differ, the first hits in Binomial(·, ½).
    - Hits against expected hits, one case a patient, such as the random prior's probabilities: the mid-p tail of the
      Poisson-binomial distribution.
    - Everything else: sign flips by patient, see ``sign_flips``.

    >>> first, second = [1, 1, 1, 0, 1, 1, 1, 1], [0, 0, 1, 0, 0, 1, 0, 0]
    >>> found = compare(first, second, generator=np.random.default_rng(0))
    >>> found.test, found.difference, round(found.better, 4)
    ('mid-p McNemar', 0.625, 0.0156)

    Raises:
        OptionError: a value is infinite, a patient is missing, or the generator is not NumPy's.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_generator(generator)
    found = sample({"first": first, "second": second}, patients)
    difference = float(np.subtract(*found.values.T).mean()) if found.count else math.nan
    name, better, worse = _tested(found, generator)
    return Comparison(difference, better, worse, name, found.count, found.patients, found.excluded)


def _tested(found: Sample, generator: Generator) -> tuple[str, float, float]:
    """The name of the test that applies, and the two p-values."""
    one, other = found.values.T
    if found.patients < 2:
        return ("one patient only" if found.patients else "no cases"), 1.0, 1.0
    if found.clustered or not is_binary(one) or not is_share(other):
        above, below = sign_flips(found.totals(one - other)[:, None], generator)
        return "sign flips by patient", float(above[0]), float(below[0])
    hits = is_binary(other)
    test = mcnemar if hits else expected_hits
    name = "mid-p McNemar" if hits else "mid-p Poisson-binomial"
    return name, test(one, other), test(1 - one, 1 - other)  # fewer hits are more misses


def is_share(values: Array) -> bool:
    """Whether every value is from 0 to 1."""
    return bool(((values >= 0) & (values <= 1)).all())


def mcnemar(first: Array, second: Array) -> float:
    """The one-sided mid-p value of "first hits more often" for hits (N,) of 0 and 1, each case a patient.

    P(X > b) + P(X = b) / 2 for X ~ Binomial(b + c, ½), with b the cases that only the first hits, c only the second.

    >>> mcnemar(np.array([1, 1, 1, 1, 0]), np.array([0, 0, 0, 0, 0]))
    0.03125
    """
    only_first, only_second = int((first > second).sum()), int((first < second).sum())
    return midp_binomial(only_first, only_first + only_second)


def expected_hits(hits: Array, probabilities: Array) -> float:
    """The one-sided mid-p value of "more hits (N,) than by these probabilities (N,)", each case a patient.

    P(X > Σ hits) + P(X = Σ hits) / 2, where X counts independent hits of the given probabilities.

    >>> expected_hits(np.array([1, 1]), np.array([0.5, 0.2]))
    0.05

    Raises:
        OptionError: a probability is not from 0 to 1.
    """
    if not is_share(probabilities):
        raise OptionError("expected hits must be probabilities from 0 to 1")
    mass, reached = poisson_binomial(probabilities), int(hits.sum())
    return min(1.0, float(mass[reached + 1 :].sum() + mass[reached] / 2))  # a sum may round to more than 1


def sign_flips(totals: Array, generator: Generator) -> tuple[Array, Array]:
    """One-sided p-values (K,) of "the mean is above 0" and "below 0", by flipping the signs of patients' sums (m, K).

    Where a patient's sum is as likely as its negative, each of the 2^m sums T* under all signs is as likely as the
    sum T of the data. With at most 12 patients whose sum is not 0 all are tried, else 9999 random ones, to which that
    of the data is added::

        p = (#{T* > T} + ½ #{T* = T, another draw} + 1) / number of sums

    Ties count by half, as in a mid-p value: with hits of one case a patient this is McNemar's. Columns share the signs.

    >>> better, worse = sign_flips(np.array([[1.0], [2.0], [3.0]]), np.random.default_rng(0))
    >>> float(better[0]), float(worse[0])
    (0.125, 1.0)
    """
    informative = totals[(totals != 0).any(axis=1)]
    patients, columns = informative.shape
    reached = informative.sum(axis=0)
    near = 1e-9 * np.abs(informative).sum(axis=0)  # sums that differ by rounding are ties
    above, below, ties, tried = np.zeros(columns), np.zeros(columns), np.zeros(columns), 0
    for signs in _signs(patients, generator):
        sums = signs @ informative - reached
        above, below = above + (sums > near).sum(axis=0), below + (sums < -near).sum(axis=0)
        ties, tried = ties + (np.abs(sums) <= near).sum(axis=0), tried + len(signs)
    return (above + (ties + 1) / 2) / tried, (below + (ties + 1) / 2) / tried


def _signs(patients: int, generator: Generator) -> Iterator[Array]:
    """All signs (2^m, m), or those of the data and 9999 random ones, in chunks (rows, m)."""
    if patients <= EXACT:
        every = list(itertools.product((1.0, -1.0), repeat=patients))
        yield np.array(every, dtype=np.float64).reshape(len(every), patients)
        return
    yield np.ones((1, patients), dtype=np.float64)
    rows = max(1, CHUNK // patients)
    for start in range(0, FLIPS, rows):
        drawn = generator.integers(2, size=(min(rows, FLIPS - start), patients), dtype=np.int8)
        yield 2 * drawn.astype(np.float64) - 1
