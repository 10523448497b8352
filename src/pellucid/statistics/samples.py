"""Checks the arrays that the statistics take, excludes and counts NaN, and numbers the patients."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from pellucid.errors import OptionError, ShapeError
from pellucid.statistics.arrays import codes_of, is_between, numbers, shown
from pellucid.statistics.distributions import Array
from pellucid.statistics.intervals import Interval

Patients = Iterable[Hashable] | None
"""Whose each case is, (N,); None where each case is a patient of its own."""


@dataclass(frozen=True)
class Sample:
    """The cases that have every value: ``values`` (n, K), and ``patient`` (n,), numbered from 0 to ``patients`` − 1.

    ``excluded`` is the number of cases that were left out because a value is NaN.
    """

    values: Array
    patient: NDArray[np.intp]
    patients: int
    excluded: int

    @property
    def count(self) -> int:
        """The number of cases."""
        return len(self.values)

    @property
    def clustered(self) -> bool:
        """Whether any patient has several cases."""
        return self.patients < self.count

    @property
    def sizes(self) -> Array:
        """The number of cases of each patient, (patients,)."""
        return self.totals(np.ones(self.count))

    def with_values(self, values: Array) -> Sample:
        """The same cases with other values (n,)."""
        return replace(self, values=values[:, None])

    def totals(self, values: Array) -> Array:
        """The sums of values (n,) within each patient, (patients,)."""
        return np.bincount(self.patient, weights=values, minlength=self.patients).astype(np.float64)

    def row_totals(self, values: Array) -> Array:
        """The sums of rows of values (P, n) within each patient, (P, patients)."""
        cells = np.arange(len(values))[:, None] * self.patients + self.patient
        found = np.bincount(cells.ravel(), weights=values.ravel(), minlength=len(values) * self.patients)
        return found.astype(np.float64).reshape(len(values), self.patients)

    def interval(self, estimate: float, low: float, high: float) -> Interval:
        """An interval of these cases."""
        return Interval(estimate, low, high, self.count, self.patients, self.excluded)

    def without(self, reason: str, estimate: float = math.nan) -> Interval:
        """An estimate of these cases whose interval is withheld."""
        return replace(self.interval(estimate, math.nan, math.nan), withheld=reason)


def sample(columns: Mapping[str, ArrayLike], patients: Patients = None) -> Sample:
    """The cases of one or more columns (N,), by the names that messages use. A case is excluded where any is NaN.

    Raises:
        ShapeError: a column is not (N,) numbers, or the columns or the patients differ in length.
        OptionError: a value is infinite, or a patient is None, NaN or not hashable.
    """
    return complete(*checked(columns, patients))


def checked(columns: Mapping[str, ArrayLike], patients: Patients = None) -> tuple[Array, NDArray[np.intp]]:
    """The columns as (N, K) and the patients as numbers (N,); raises what ``sample`` raises."""
    found = {name: numbers(name, values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in found.items()}
    codes = None if patients is None else codes_of(patients)
    if codes is not None:
        lengths["patients"] = len(codes)
    check_lengths(lengths)
    table = np.stack(list(found.values()), axis=1)
    return table, np.arange(len(table)) if codes is None else codes


def check_lengths(lengths: Mapping[str, int]) -> None:
    """Raise ``ShapeError`` if the lengths of the arrays of these names differ; it names up to two of each length."""
    if len(set(lengths.values())) > 1:
        alike: Counter[int] = Counter()
        some: list[str] = []
        for name, length in lengths.items():
            alike[length] += 1
            some += [f"{name}: {length}"] if alike[length] <= 2 else []
        given = ", ".join(some[:6])
        raise ShapeError(f"one entry a case is needed in each array, got lengths that differ ({given})")


def complete(table: Array, codes: NDArray[np.intp]) -> Sample:
    """The rows of a table (N, K) without NaN, of patients (N,)."""
    kept = ~np.isnan(table).any(axis=1)
    known, patient = np.unique(codes[kept], return_inverse=True)
    return Sample(table[kept], patient, len(known), int((~kept).sum()))


def checked_hits(name: str, values: Array) -> Array:
    """The values, if each is 0 or 1.

    Raises:
        OptionError: a value is neither.
    """
    wrong = values[(values != 0) & (values != 1)]
    if len(wrong):
        raise OptionError(f"{name} must be 0, 1 or NaN (missing), got {wrong[0]:g}; for other values use mean()")
    return values


def is_binary(values: Array) -> bool:
    """Whether every value is 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def checked_share(name: str, value: float) -> float:
    """The value, if it is between 0 and 1.

    Raises:
        OptionError: it is not.
    """
    if not is_between(0, value, 1):
        raise OptionError(f"{name} must be above 0 and below 1, got {shown(value)}")
    return float(value)


def checked_generator(generator: Generator) -> Generator:
    """The generator, if it is one of NumPy's.

    Raises:
        OptionError: it is a seed, or another library's.
    """
    if not isinstance(generator, Generator):
        raise OptionError(f"generator must be NumPy's, such as numpy.random.default_rng(0), got {generator!r}")
    return generator
