"""Numbers in the report have the digits that the data support, and no rounding changes what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.evaluation.unit import DISTINCT, PATIENT
from pellucid.report.evaluation.numbers import decimals, in_words, of, p_value, rounded
from pellucid.statistics import Interval
from tests.report.evaluations import share, withheld


@pytest.mark.parametrize(("cases", "expected"), [(20, 2), (99, 2), (2_000, 2), (10_000, 3), (10**6, 4), (10**9, 4)])
def test_a_share_has_the_digits_of_its_cases(cases: int, expected: int) -> None:
    assert decimals(share(0.616, cases, cases)) == expected


@pytest.mark.parametrize("half", [0.3, 0.1, 0.04, 0.011, 0.0021, 3.0, 40.0, 250.0])
def test_rounding_moves_a_value_by_at_most_a_quarter_of_half_the_interval(half: float) -> None:
    digits = decimals(Interval(5.123456, 5.123456 - half, 5.123456 + half, 99, 99))
    assert 0.5 * 10.0**-digits <= half / 4 or digits == 4
    assert digits == 0 or 0.5 * 10.0 ** -(digits - 1) > half / 4


def test_a_constant_and_a_value_without_an_interval_are_stated() -> None:
    assert in_words(Interval(1.0, 1.0, 1.0, 9, 9), PATIENT).replace("\N{NO-BREAK SPACE}", " ") == "1.00 (1.00 to 1.00)"
    assert in_words(withheld(), PATIENT) == "not stated: fewer than 20 patients"
    assert in_words(withheld(), DISTINCT) == "not stated: fewer than 20 distinct images"
    assert of(Interval(0.5, 0.4, 0.6, 1, 1), PATIENT) == "1 finding of 1 patient"
    assert of(Interval(0.5, 0.4, 0.6, 3, 2), DISTINCT, "image") == "3 images (2 distinct)"


@pytest.mark.parametrize(
    ("value", "text"), [(-0.041, "−0.04"), (-0.001, "0.00"), (0.0, "0.00"), (math.nan, "–"), (math.inf, "–")]
)
def test_minus_and_zero(value: float, text: str) -> None:
    assert rounded(value) == text
    assert rounded(value, signed=True) == text
    assert rounded(0.041, signed=True) == "+0.04"


@pytest.mark.parametrize("level", [0.05, 0.1, 0.025, 0.001])
def test_a_p_value_stays_on_its_side_of_the_level(level: float) -> None:
    rng = np.random.default_rng(0)
    values = [*rng.random(300), *(level * (1 + rng.normal(size=300) / 50)), level, level - 1e-4, level + 1e-4]
    for value in values:
        text = p_value(value, level)
        if text == "< 0.001":
            assert value < 0.001
            continue
        number = float(text.removeprefix("= "))
        assert math.isclose(number, value, abs_tol=0.005 if value >= 0.1 else 0.0005)
        assert (number <= level) == (value <= level)
        assert number != level or value == level
