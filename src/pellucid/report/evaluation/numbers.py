"""Numbers in words: as many digits as the data support, and never without what they are counted on."""

from __future__ import annotations

import math

from pellucid.errors import counted
from pellucid.evaluation.unit import Unit
from pellucid.statistics import Interval

NONE = "–"
_JOINED = "\N{NO-BREAK SPACE}"
_MOST = 4
"""The most decimals of a figure."""
_SMALLEST, _LONGEST = 0.001, 15
"""The p-value below which there is no number, and the most decimals of one."""


def decimals(found: Interval) -> int:
    """The decimals that an estimate and its interval are stated with.

    The fewest for which rounding moves a value by at most a quarter of half the interval's length h, ½ · 10⁻ᵈ ≤ h / 4:
    d = ⌈−log₁₀(h / 2)⌉, at most 4, and at least 2 of what lies between −1 and 1. So a share of 99 cases has two
    decimals, and one of 10,000 cases three.

    >>> decimals(Interval(0.616, 0.513, 0.712, 99, 99)), decimals(Interval(0.6160, 0.6064, 0.6255, 10_000, 10_000))
    (2, 3)
    """
    half = (found.high - found.low) / 2
    least = 2 if max(abs(value) for value in (found.estimate, found.low, found.high)) <= 1 else 0
    if not half > 0:
        return max(least, 2)
    return min(_MOST, max(least, math.ceil(-math.log10(half / 2))))


def rounded(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number rounded to a number of decimals, a dash for none. The minus is a minus, and zero has no sign.

    >>> rounded(-0.041), rounded(-0.001), rounded(0.05, signed=True), rounded(float("nan"))
    ('−0.04', '0.00', '+0.05', '–')
    """
    if not math.isfinite(value):
        return NONE
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def in_words(found: Interval, unit: Unit, *, signed: bool = False) -> str:
    r"""An estimate with its 95 % interval, which is not broken between lines; where it is withheld, only why.

    >>> from pellucid.evaluation.unit import PATIENT
    >>> in_words(Interval(0.616, 0.513, 0.712, 99, 99), PATIENT)
    '0.62 (0.51\xa0to\xa00.71)'
    >>> in_words(Interval(0.7, float("nan"), float("nan"), 12, 12, withheld="fewer than 20 patients"), PATIENT)
    'not stated: fewer than 20 patients'
    """
    if found.withheld is not None:
        return f"not stated: {unit.words(found.withheld)}"
    digits = decimals(found)
    each = [rounded(value, digits, signed=signed) for value in (found.estimate, found.low, found.high)]
    return f"{each[0]} ({each[1]}{_JOINED}to{_JOINED}{each[2]})"


def of(found: Interval, unit: Unit, noun: str = "finding") -> str:
    """What an estimate is counted on, and how much of it has no value.

    >>> from pellucid.evaluation.unit import PATIENT
    >>> of(Interval(0.6, 0.5, 0.7, 99, 75, excluded=2), PATIENT)
    '99 findings of 75 patients, 2 without a value'
    """
    text = f"{counted(found.count, noun)} {unit.of(found.patients, noun)}"
    return f"{text}, {found.excluded} without a value" if found.excluded else text


def p_value(value: float, level: float = 0.05) -> str:
    """A p-value with two decimals, or three below 0.1. It is not rounded to the level, nor across it.

    >>> p_value(0.632), p_value(0.0042), p_value(0.00001), p_value(0.05003), p_value(1.0)
    ('= 0.63', '= 0.004', '< 0.001', '= 0.05003', '= 1.00')
    """
    if not math.isfinite(value):
        return NONE
    if value < _SMALLEST <= level:
        return "< 0.001"
    digits = 2 if value >= 0.1 else 3
    while digits < _LONGEST and value != level and _hides(round(value, digits), value, level):
        digits += 1
    return f"= {value:.{digits}f}"


def _hides(shown: float, value: float, level: float) -> bool:
    """Whether a rounded p-value does not tell on which side of the level the value is."""
    return shown == level or (shown < level) != (value < level)
