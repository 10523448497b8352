"""What counts as a number among options."""

from __future__ import annotations

from numbers import Real

from torch import Tensor


def is_number(value: object) -> bool:
    """Whether an option is one number, which neither a text nor a truth value is."""
    is_one = isinstance(value, Tensor) and value.ndim == 0
    return is_one or (isinstance(value, Real) and not isinstance(value, bool))


def shown(value: object) -> str:
    """An option in a message: a number in short, and anything else as Python writes it."""
    return f"{value:g}" if is_number(value) else repr(value)


def is_whole(value: object) -> bool:
    """Whether an option is a whole number, which a truth value is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_seed(value: object) -> bool:
    """Whether an option is a seed of random numbers: a whole number from 0, below 2 to the power of 63."""
    return is_whole(value) and 0 <= value < 2**63  # type: ignore[operator]  # it is an int
