"""Checks the arrays that the statistics take, excludes and counts NaN, and numbers the patients."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from pellucid.errors import OptionError, ShapeError, message_of
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
    codes = None if patients is None else _codes(patients)
    if codes is not None:
        lengths["patients"] = len(codes)
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ShapeError(f"one entry a case is needed in each array, got lengths that differ ({given})")
    table = np.stack(list(found.values()), axis=1)
    return table, np.arange(len(table)) if codes is None else codes


def complete(table: Array, codes: NDArray[np.intp]) -> Sample:
    """The rows of a table (N, K) without NaN, of patients (N,)."""
    kept = ~np.isnan(table).any(axis=1)
    known, patient = np.unique(codes[kept], return_inverse=True)
    return Sample(table[kept], patient, len(known), int((~kept).sum()))


def numbers(name: str, values: ArrayLike) -> Array:
    """The values as (N,) numbers, of which NaN are missing; raises what ``sample`` raises."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # text, ragged lists, tensors that need a gradient
        raise ShapeError(f"{name} must be an array (N,) of numbers: {message_of(error)}") from error
    if found.ndim != 1:
        raise ShapeError(f"{name} must be an array (N,) of numbers, got shape {found.shape}")
    if np.isinf(found).any():
        infinite = int(np.isinf(found).sum())
        raise OptionError(f"{name} must be finite, got {infinite} infinite of {len(found)}; NaN marks a missing value")
    return found


def _codes(patients: Iterable[Hashable]) -> NDArray[np.intp]:
    """Numbers of the patients, in the order of their first case."""
    # The entries of a tensor are tensors, which are equal to nothing as keys.
    names = [entry.tolist() if hasattr(entry, "tolist") else entry for entry in patients]
    missing = sum(name is None or name != name for name in names)
    if missing:
        raise OptionError(f"every case needs a patient, got {missing} of {len(names)} that are None or NaN")
    known: dict[Hashable, int] = {}
    try:
        return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.intp)
    except TypeError as error:
        raise OptionError(f"patients must be (N,) names or numbers, that can be keys of a dict: {error}") from error


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
    if not 0 < value < 1:
        raise OptionError(f"{name} must be above 0 and below 1, got {value:g}")
    return float(value)


def checked_generator(generator: Generator) -> Generator:
    """The generator, if it is one of NumPy's.

    Raises:
        OptionError: it is a seed, or another library's.
    """
    if not isinstance(generator, Generator):
        raise OptionError(f"generator must be NumPy's, such as numpy.random.default_rng(0), got {generator!r}")
    return generator
