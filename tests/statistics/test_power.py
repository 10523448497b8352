"""Cases needed: the formula by hand, its limits, and the power that is reached."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from pellucid.errors import OptionError
from pellucid.statistics import cases_needed, cases_needed_by
from pellucid.statistics.paired import mcnemar
from tests.statistics.test_paired import pair, rng


@pytest.mark.parametrize("discordance", [0.15, 0.3, 0.9])
@pytest.mark.parametrize(("difference", "power", "level"), [(0.1, 0.8, 0.05), (0.05, 0.9, 0.025), (0.12, 0.6, 0.01)])
def test_it_is_connors_formula(discordance, difference, power, level):
    found = cases_needed(discordance, difference=difference, power=power, level=level)
    spread = norm.ppf(1 - level) * discordance**0.5 + norm.ppf(power) * (discordance - difference**2) ** 0.5
    assert found == math.ceil(spread**2 / difference**2)


def test_a_discordance_below_the_difference_is_impossible():
    assert cases_needed(0.0) == cases_needed(0.1) < cases_needed(0.11)


def test_the_observed_difference_does_not_matter():
    one, other = pair(20, 10, 40, 30), pair(15, 15, 40, 30)
    assert cases_needed_by(*one) == cases_needed_by(*other) == cases_needed(0.3)
    values = rng().normal(size=50)
    spread = rng().normal(size=50) * 0.2
    assert cases_needed_by(values, values + spread) == cases_needed_by(values, values + spread + 7)


def test_other_scores_use_their_variance():
    source = rng()
    first, second = source.random(80), source.random(80)
    square = (first - second).var(ddof=1) + 0.05**2
    spread = norm.ppf(0.95) * square**0.5 + norm.ppf(0.8) * (square - 0.05**2) ** 0.5
    assert cases_needed_by(first, second, difference=0.05) == math.ceil((spread / 0.05) ** 2)


def test_cases_of_a_patient_that_are_copies_need_as_many_times_the_cases():
    first, second = pair(12, 8, 10, 10)
    whose = [k // 3 for k in range(120)]
    single, tripled = cases_needed_by(first, second), cases_needed_by(np.repeat(first, 3), np.repeat(second, 3), whose)
    assert tripled == pytest.approx(3 * single, rel=0.03)


@pytest.mark.parametrize(("first", "patients"), [([], None), ([math.nan] * 3, None), ([1, 0], ["a", "a"])])
def test_without_two_patients_nothing_is_known(first, patients):
    assert cases_needed_by(first, [0] * len(first), patients) is None


@pytest.mark.parametrize(
    "options", [{"difference": 0}, {"difference": 1.5}, {"power": 1}, {"level": 0}, {"level": math.nan}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(OptionError, match="must be above 0"):
        cases_needed(0.3, **options)


@pytest.mark.parametrize("discordance", [-0.1, 1.1, math.nan, "a", None, [0.3], np.array([0.3, 0.4])])
def test_a_discordance_is_a_share(discordance):
    with pytest.raises(OptionError, match="the discordance is a share") as caught:
        cases_needed(discordance)
    assert "\n" not in str(caught.value)


def test_a_discordance_of_all_cases_or_none_is_one():
    assert cases_needed(np.float32(1)) == cases_needed(1) > cases_needed(0.5)
    assert cases_needed(0) == cases_needed(0.1)  # at least the difference


@pytest.mark.parametrize("difference", [0, -1, math.inf])
def test_a_difference_to_detect_is_positive(difference):
    with pytest.raises(OptionError, match="the difference to detect must be above 0"):
        cases_needed_by([1, 0], [0, 0], difference=difference)


def test_the_power_is_reached():
    source, found = np.random.default_rng(2), 0
    cases = cases_needed(0.3)
    for _ in range(600):
        differing, wins = source.random(cases) < 0.3, source.random(cases) < 2 / 3  # 0.2 − 0.1 = 0.1
        found += mcnemar((differing & wins).astype(float), (differing & ~wins).astype(float)) <= 0.05
    assert found / 600 == pytest.approx(0.8, abs=0.05)
