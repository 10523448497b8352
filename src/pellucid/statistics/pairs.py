"""All pairs of methods: differences with intervals that hold together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pellucid.errors import OptionError
from pellucid.statistics.arrays import named
from pellucid.statistics.distributions import Array, t_quantile
from pellucid.statistics.intervals import Interval
from pellucid.statistics.means import all_withheld
from pellucid.statistics.samples import Patients, Sample, checked, checked_share, complete
from pellucid.statistics.tango import Discordance

Columns = tuple[int, int]
CHUNK = 1 << 20
"""Differences that are held at a time."""


@dataclass(frozen=True)
class Pair:
    """Two methods, and the mean of first − second with its simultaneous interval."""

    first: str
    second: str
    difference: Interval

    def __str__(self) -> str:
        return f"{self.first} − {self.second}: {self.difference}"


def all_pairs(
    methods: Mapping[str, ArrayLike], patients: Patients = None, *, confidence: float = 0.95
) -> tuple[Pair, ...]:
    """The differences of all pairs of methods, whose intervals all hold with this confidence.

    ``methods`` are scores (N,) of the same cases. Each of the K pairs has an interval of confidence
    1 − (1 − confidence) / K (Bonferroni), which holds whatever the dependence of the pairs:

    - hits: the differences that Tango's score test does not reject, by patient (``difference``);
    - else mean ± t(m − 1) · s with the standard error s of m patients (``mean``), withheld where that of ``mean`` is.

    Of 15 independent methods the interval is 3 % wider than Tukey's, which holds for equal variances only.

    >>> rng = np.random.default_rng(0)
    >>> for pair in all_pairs({name: rng.random(50) < rate for name, rate in (("a", 0.9), ("b", 0.3), ("c", 0.4))}):
    ...     print(pair)
    a − b: 0.640 (0.387 to 0.797)
    a − c: 0.560 (0.351 to 0.719)
    b − c: -0.080 (-0.293 to 0.140)

    Raises:
        OptionError: there are fewer than two methods, a value is infinite, or a patient is missing.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_share("confidence", confidence)
    if len(named("methods", methods)) < 2:
        raise OptionError(f"pairs need at least two methods, got {', '.join(methods) or 'none'}")
    table, codes = checked(methods, patients)
    names, pairs = list(methods), list(itertools.combinations(range(len(methods)), 2))
    each = 1 - (1 - confidence) / len(pairs)
    found: dict[Columns, Interval] = {}
    for alike in _of_the_same_cases(np.isnan(table), pairs):
        both = sorted(set(itertools.chain(*alike)))
        numbers = [(both.index(one), both.index(other)) for one, other in alike]
        found |= zip(alike, _intervals(complete(table[:, both], codes), numbers, each), strict=True)
    return tuple(Pair(names[one], names[other], found[one, other]) for one, other in pairs)


def _of_the_same_cases(missing: NDArray[np.bool_], pairs: Sequence[Columns]) -> Iterator[Sequence[Columns]]:
    """The pairs of columns (N, K) with the same missing cases, some at a time."""
    groups: dict[bytes, list[Columns]] = {}
    for one, other in pairs:
        groups.setdefault((missing[:, one] | missing[:, other]).tobytes(), []).append((one, other))
    size = max(1, CHUNK // max(1, len(missing)))
    for group in groups.values():
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _intervals(found: Sample, pairs: Sequence[Columns], confidence: float) -> list[Interval]:
    """The interval of each pair of columns."""
    columns = np.ascontiguousarray(found.values.T)
    first, second = (columns[list(side)] for side in zip(*pairs, strict=True))
    hits = _are_binary(first) & _are_binary(second) & (found.patients > 1)
    of_hits = iter(_tangos(found, (first - second)[hits], confidence))
    others = iter(_students(found, (first - second)[~hits], confidence))
    return [next(of_hits if one else others) for one in hits]


def _are_binary(rows: Array) -> NDArray[np.bool_]:
    """Which rows (P, n) have no value but 0 and 1."""
    return np.asarray(((rows == 0) | (rows == 1)).all(axis=1))


def _tangos(found: Sample, apart: Array, confidence: float) -> Iterator[Interval]:
    """The intervals of differences (P, n) of hits."""
    bounds = Discordance.of(found, apart).interval(confidence) if len(apart) else ((), ())
    for estimate, low, high in zip(apart.mean(axis=1), *bounds, strict=True):
        yield found.interval(float(estimate), float(low), float(high))


def _students(found: Sample, apart: Array, confidence: float) -> Iterator[Interval]:
    """The intervals of other differences (P, n), or why there is none."""
    estimates = apart.mean(axis=1) if found.count else np.full(len(apart), math.nan)
    reasons = all_withheld(found, found.row_totals(apart))
    rest = found.row_totals(apart - estimates[:, None])
    freedom = found.patients - 1
    with np.errstate(divide="ignore", invalid="ignore"):  # one patient, or none: withheld
        spreads = np.sqrt((rest**2).sum(axis=1) * found.patients / freedom) / found.count
    quantile = t_quantile((1 + confidence) / 2, freedom)
    for estimate, spread, reason in zip(estimates.tolist(), spreads.tolist(), reasons, strict=True):
        half = quantile * spread
        yield found.without(reason, estimate) if reason else found.interval(estimate, estimate - half, estimate + half)
