"""Means of a metric, with bootstrap intervals whose units are patients."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from pellucid.statistics.distributions import Array
from pellucid.statistics.intervals import Interval
from pellucid.statistics.samples import Patients, Sample, checked_generator, checked_share, sample

RESAMPLES = 1999
"""So that the quantiles 0.025 and 0.975 of the resamples and the data are whole ranks of 2000."""
ROWS = 64
"""Resamples that are counted at a time, so that they stay in the processor's cache."""
FEWEST_PATIENTS = 20
FEWEST_OTHERS = 10
"""The patients that must differ from the most frequent mean: with fewer the interval covers too rarely."""


def mean(values: ArrayLike, patients: Patients = None, *, generator: Generator, confidence: float = 0.95) -> Interval:
    """The mean of a metric (N,) with the studentised bootstrap interval, patients (N,) being resampled.

    With θ the mean over the cases, and patient i's sum yᵢ over nᵢ cases of n::

        s²       = m / (m − 1) · Σᵢ (yᵢ − θ nᵢ)² / n²
        interval = θ − s · quantiles of (θ* − θ) / s*

    where θ* and s* are those of m patients drawn with replacement, 1999 times (Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, chapter 12). In the units of the values; it may reach beyond their range.

    It is withheld with fewer than 20 patients, or where fewer than 10 patients' means differ from the most frequent
    one: its coverage was not shown there (docs/statistics.md).

    >>> values = np.random.default_rng(0).beta(2, 5, size=40)
    >>> print(mean(values, generator=np.random.default_rng(1)))
    0.265 (0.223 to 0.312)

    Raises:
        OptionError: a value is infinite, a patient is missing, the generator is not NumPy's, or ``confidence`` is not
            between 0 and 1.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_generator(generator)
    checked_share("confidence", confidence)
    return mean_of(sample({"values": values}, patients), generator, confidence)


def mean_of(found: Sample, generator: Generator, confidence: float = 0.95) -> Interval:
    """The mean of a sample of one column; see ``mean``."""
    estimate = float(found.values.mean()) if found.count else math.nan
    reason = withheld(found)
    if reason:
        return found.without(reason, estimate)
    low, high = _studentised(found.totals(found.values[:, 0]), found.sizes, generator, (1 - confidence) / 2)
    return found.interval(estimate, low, high)


def withheld(found: Sample) -> str | None:
    """Why no interval is given, if it is not."""
    return all_withheld(found, found.row_totals(found.values.T))[0]


def all_withheld(found: Sample, totals: Array) -> list[str | None]:
    """Why no interval is given of each of P metrics, whose sums by patient are ``totals`` (P, patients)."""
    if not found.count:
        return ["no cases"] * len(totals)
    if found.patients < FEWEST_PATIENTS:
        return [f"fewer than {FEWEST_PATIENTS} patients"] * len(totals)
    means = totals / found.sizes
    largest = np.abs(means).max(axis=1, keepdims=True)
    scaled = means / np.where(largest == 0, 1.0, largest)
    others = found.patients - _most_frequent(np.round(scaled, 12))  # sums in another order differ by rounding
    reason = f"fewer than {FEWEST_OTHERS} patients differ from the most frequent value"
    return [reason if count < FEWEST_OTHERS else None for count in others]


def _most_frequent(values: Array) -> NDArray[np.intp]:
    """How often the most frequent value of each row (P, m) is there: the longest run of the sorted row."""
    ordered, number = np.sort(values, axis=1), np.arange(values.shape[1])
    starts = np.zeros(ordered.shape, np.intp)
    starts[:, 1:] = np.where(ordered[:, 1:] != ordered[:, :-1], number[1:], 0)
    longest: NDArray[np.intp] = (number - np.maximum.accumulate(starts, axis=1)).max(axis=1) + 1
    return longest


def _studentised(totals: Array, sizes: Array, generator: Generator, tail: float) -> tuple[float, float]:
    centre = float(totals.sum() / sizes.sum())
    rest = totals - centre * sizes  # of mean 0, so that no digits are lost where values are far from 0
    spread = float(ratio(rest, sizes, np.ones((1, len(totals))))[1][0])
    centres, spreads = ratio(rest, sizes, resamples(len(totals), generator))
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of equal values has no spread
        scores = centres / spreads
    scores = np.where(np.isnan(scores), 0.0, scores)
    lower, upper = np.quantile(scores, [tail, 1 - tail], method="weibull")  # the ranks of 2000
    return centre - float(upper) * spread, centre - float(lower) * spread


def resamples(patients: int, generator: Generator, count: int = RESAMPLES) -> Array:
    """How often each patient is drawn, (count, patients): ``patients`` draws with replacement a row."""
    drawn = generator.integers(patients, size=(count, patients))
    found = np.empty((count, patients))
    for start in range(0, count, ROWS):
        block = drawn[start : start + ROWS]
        block = block + patients * np.arange(len(block))[:, None]
        found[start : start + ROWS] = np.bincount(block.ravel(), minlength=block.size).reshape(block.shape)
    return found


def ratio(totals: Array, sizes: Array, weights: Array) -> tuple[Array, Array]:
    """The mean over cases and its standard error, (rows,) each, for weights (rows, patients).

    ``totals`` and ``sizes`` (patients,) are each patient's sum and number of cases. With wᵢ the weights and m patients,
    θ = Σ wᵢ yᵢ / Σ wᵢ nᵢ and s² = m / (m − 1) · Σ wᵢ (yᵢ − θ nᵢ)² / (Σ wᵢ nᵢ)².
    """
    counts = weights @ sizes
    centres = weights @ totals / counts
    squares = weights @ totals**2 - 2 * centres * (weights @ (totals * sizes)) + centres**2 * (weights @ sizes**2)
    patients = len(totals)
    return centres, np.sqrt(np.maximum(squares, 0) * patients / (patients - 1)) / counts
