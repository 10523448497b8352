"""What callers give to the statistics: arrays of numbers, names of patients or groups, and shares."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pellucid.errors import OptionError, ShapeError, message_of
from pellucid.statistics.distributions import Array

LARGEST = 1e100
"""Sums of larger values' squares may be infinite."""


def numbers(name: str, values: ArrayLike) -> Array:
    """The values as (N,) numbers, of which NaN are missing, and so are the masked ones of a masked array.

    Raises:
        ShapeError: they are not (N,), or not real numbers.
        OptionError: a value is infinite, or beyond ±1e100.
    """
    try:
        given = np.asanyarray(_plain(values))
        real = given.dtype.kind not in "cMm"
        found: Array = np.asarray(np.ma.filled(given.astype(np.float64), np.nan)) if real else np.empty(0)
    except (TypeError, ValueError, RuntimeError) as error:  # text, ragged lists, tensors that need a gradient
        raise ShapeError(f"{name} must be an array (N,) of numbers: {message_of(error)}") from error
    if not real:
        raise ShapeError(f"{name} must be an array (N,) of real numbers, got {given.dtype}")
    if found.ndim != 1:
        raise ShapeError(f"{name} must be an array (N,) of numbers, got shape {found.shape}")
    if np.isinf(found).any():
        infinite = int(np.isinf(found).sum())
        raise OptionError(f"{name} must be finite, got {infinite} infinite of {len(found)}; NaN marks a missing value")
    if (np.abs(found) > LARGEST).any():
        raise OptionError(f"{name} must be from -1e100 to 1e100, got {found[np.abs(found) > LARGEST][0]:g}: scale them")
    return found


def _plain(values: Any) -> Any:
    """A tensor as a list: NumPy takes none of a GPU or of bfloat16. One that needs a gradient is left to NumPy."""
    return values.tolist() if not getattr(values, "requires_grad", True) else values


def names_of(what: str, given: Iterable[Hashable]) -> list[Hashable]:
    """The entries of patients or groups, which messages call ``what``.

    Raises:
        OptionError: they have no order, as a set, or are one name or number, or cannot be keys of a dict.
    """
    without_order = isinstance(given, (str, bytes, set, frozenset, Mapping))
    if without_order or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        kind = type(given).__name__
        raise OptionError(f"{what} must be a list or array (N,) with one name or number a case, got {kind}")
    # The entries of a tensor are tensors, which are equal to nothing as keys.
    names = [entry.tolist() if hasattr(entry, "tolist") else entry for entry in given]
    try:
        set(names)
    except TypeError as error:
        raise OptionError(f"{what} must be (N,) names or numbers, that can be keys of a dict: {error}") from error
    return names


def codes_of(patients: Iterable[Hashable]) -> NDArray[np.intp]:
    """Numbers of the patients (N,), in the order of their first case.

    Raises:
        OptionError: a patient is None or NaN, or what ``names_of`` raises.
    """
    names = names_of("patients", patients)
    missing = sum(name is None or name != name for name in names)
    if missing:
        raise OptionError(f"every case needs a patient, got {missing} of {len(names)} that are None or NaN")
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.intp)


def named(what: str, given: Mapping[str, ArrayLike]) -> Mapping[str, ArrayLike]:
    """Scores by the names of methods or priors, which messages call ``what``, if they are that.

    Raises:
        OptionError: they are given without names.
    """
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise OptionError(f"{what} must be a mapping of names to scores (N,), got {kind}: write {{'gradcam': scores}}")
    return given


def is_between(low: float, value: object, high: float) -> bool:
    """Whether a value is a number strictly between two others."""
    try:
        return bool(low < value < high)  # type: ignore[operator]  # of anything
    except (TypeError, ValueError, RuntimeError):  # text, None, arrays
        return False


def is_from(low: float, value: object, high: float) -> bool:
    """Whether a value is a number from one to another, both included."""
    return is_between(low, value, high) or (isinstance(value, Real) and value in (low, high))


def shown(value: object) -> str:
    """A number as messages write it, or what came in its place."""
    return f"{value:g}" if isinstance(value, (int, float)) else repr(value)[:60]
