"""Codes of the patient's axes, such as RAS, and spacings in mm: which ones are possible."""

from __future__ import annotations

from typing import Any

from pellucid.errors import OptionError

CODES = ("LR", "PA", "IS")
"""The directions of the patient's axes, the negative one first."""
SHORTEST, LONGEST = 1e-6, 1e6
"""The limits of a spacing in mm, between which the arithmetic is exact enough."""


def checked_orientation(codes: object) -> str:
    """The axis codes, in capital letters. ``OptionError``: they are not one letter of each pair."""
    known = codes.upper() if isinstance(codes, str) else ""
    if sorted(axis_of(code) for code in known) != [0, 1, 2]:
        raise OptionError(
            f"orientation {codes} was given; write one letter each of L or R, A or P, S or I, in the order of the "
            "input's axes, as in RAS"
        )
    return known


def checked_spacing(spacing: object) -> tuple[float, ...]:
    """The spacing. ``OptionError``: it is not three lengths in mm."""
    numbers = list(spacing) if isinstance(spacing, list | tuple) else []
    if len(numbers) != 3 or not all(_is_length(number) for number in numbers):
        raise OptionError(
            f"spacing {spacing} was given; write three numbers of mm from {SHORTEST:f} to {LONGEST:,.0f}, as in "
            "(1.5, 1.5, 2)"
        )
    return tuple(float(number) for number in numbers)


def axis_of(code: str) -> int:
    """The number of the patient's axis that a code is of; -1 of any other letter."""
    return next((axis for axis, pair in enumerate(CODES) if code in pair), -1)


def _is_length(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and SHORTEST <= value <= LONGEST
