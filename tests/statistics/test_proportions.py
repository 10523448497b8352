"""Intervals of proportions, compared with loops, with scipy and with statsmodels' values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from pellucid.errors import OptionError
from pellucid.statistics import proportion
from pellucid.statistics.proportions import wilson
from tests.statistics import naive
from tests.statistics.oracles import ORACLES


@given(st.integers(2, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_with_one_case_a_patient_it_is_the_exact_binomial_interval(counts):
    hits, count = counts
    found = proportion([1] * hits + [0] * (count - hits))
    expected = binomtest(hits, count).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.estimate == pytest.approx(hits / count)


@pytest.mark.parametrize(("hits", "count", "low", "high"), ORACLES["clopper_pearson"])
def test_it_equals_statsmodels(hits, count, low, high):
    found = proportion([1] * hits + [0] * (count - hits))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize("most", [1, 3, 8])
@pytest.mark.parametrize("patients", [2, 12, 40])
@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_it_equals_a_loop(most, patients, rate):
    rng = np.random.default_rng([most, patients, int(10 * rate)])
    for confidence in (0.9, 0.95):
        whose = np.repeat(np.arange(patients), rng.integers(1, most + 1, size=patients))
        shared = rng.random(patients)[whose]
        hits = np.where(rng.random(len(whose)) < 0.5, shared, rng.random(len(whose))) < rate
        found = proportion(hits, whose.tolist(), confidence=confidence)
        expected = naive.korn_graubard(hits.astype(int).tolist(), whose.tolist(), confidence)
        assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)
        assert (found.count, found.patients) == (len(whose), patients)


def test_cases_of_a_patient_that_are_copies_count_as_one():
    hits = [1, 1, 0, 1, 0, 1, 1, 1, 0, 1] * 3
    tripled = proportion([hit for hit in hits for _ in range(3)], [k for k in range(30) for _ in range(3)])
    single = proportion(hits)
    # The estimated effect is 3 · 29 / 30 · 90 / 89 … instead of 3, and Student's quantiles differ.
    assert tripled.width == pytest.approx(single.width, rel=0.05)
    assert tripled.width > 1.5 * proportion(hits * 3).width


def test_cases_that_differ_within_patients_do_not_narrow_it():
    hits, whose = [0, 1] * 20, [k for k in range(20) for _ in range(2)]
    quantiles = 2.022690920036760 / 2.093024054408263  # Student's 0.975 of 39 and 19 degrees of freedom
    low, high = (proportion(hits, whose).low, proportion(hits, whose).high)
    size = 40 * quantiles**2
    beta = naive.stats.beta
    assert (low, high) == pytest.approx(
        (beta.ppf(0.025, size / 2, size / 2 + 1), beta.ppf(0.975, size / 2 + 1, size / 2))
    )


@pytest.mark.parametrize("hit", [0, 1])
def test_where_all_hit_or_none_the_patients_count(hit):
    found = proportion([hit] * 60, [k % 20 for k in range(60)])
    expected = binomtest(20 * hit, 20).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_few_patients_of_the_rarer_outcome_with_many_cases_each_are_taken_to_be_alike():
    whose = [k for k in range(20) for _ in range(6)]
    hits = [int(index % 40 != 0) for index in range(120)]  # three misses of three patients: no effect is estimated
    low = binomtest(117, 120).proportion_ci(method="exact").low
    beta = naive.stats.beta
    assert proportion(hits, whose).low == pytest.approx(beta.ppf(0.025, 20 * 0.975, 20 * 0.025 + 1))
    assert proportion(hits, whose).low < low - 0.1


@pytest.mark.parametrize("misses", [9, 10])
def test_ten_patients_of_the_rarer_outcome_suffice(misses):
    whose = [k for k in range(20) for _ in range(6)]
    hits = [int(index % 6 > 0 or index >= 6 * misses) for index in range(120)]  # one miss of each of some patients
    loss = (naive.stats.t.ppf(0.975, 119) / naive.stats.t.ppf(0.975, 19)) ** 2
    size = 20 if misses == 9 else 120 * loss  # cases of a patient differ more than chance would have it: no effect
    x = size * sum(hits) / 120
    assert proportion(hits, whose).low == pytest.approx(naive.stats.beta.ppf(0.025, x, size - x + 1))


def test_missing_values_are_counted():
    found = proportion([1, math.nan, 0, 1, math.nan], ["a", "b", "c", "d", "d"])
    assert (found.count, found.patients, found.excluded) == (3, 3, 2)
    assert (found.low, found.high) == (proportion([1, 0, 1]).low, proportion([1, 0, 1]).high)


@pytest.mark.parametrize(
    ("hits", "patients", "reason"),
    [
        ([], None, "no cases"),
        ([math.nan] * 4, None, "no cases"),
        ([1, 0, 1], ["a", "a", "a"], "one patient only"),
        ([1], None, "one patient only"),
    ],
)
def test_without_two_patients_the_count_is_shown(hits, patients, reason):
    found = proportion(hits, patients)
    assert found.withheld == reason
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert str(found).startswith(f"{found.count} case")


@pytest.mark.parametrize("rate", [0.02, 0.6, 0.9, 0.98])
@pytest.mark.parametrize("count", [5, 25, 50])
def test_the_exact_coverage_of_independent_cases_is_sufficient(rate, count):
    found = [proportion([1] * hits + [0] * (count - hits)) for hits in range(count + 1)]
    covering = [hits for hits, interval in enumerate(found) if interval.contains(rate)]
    assert binom.pmf(covering, count, rate).sum() >= 0.95


def test_the_coverage_of_patients_with_several_cases_is_sufficient():
    rng, missed = np.random.default_rng(5), 0
    for _ in range(400):
        whose = np.repeat(np.arange(25), rng.integers(1, 4, size=25))
        hits = rng.random(len(whose)) < rng.beta(0.6, 0.4, size=25)[whose]
        missed += not proportion(hits, whose.tolist()).contains(0.6)
    assert missed <= 28  # 7 %; the exact binomial interval misses 15 %


def test_wilson_covers_too_rarely_where_the_exact_interval_does_not():
    covering = [hits for hits in range(26) if wilson(hits, 25)[0] <= 0.98 <= wilson(hits, 25)[1]]
    assert binom.pmf(covering, 25, 0.98).sum() == pytest.approx(0.911, abs=0.001)


@pytest.mark.parametrize(
    ("hits", "count", "words"),
    [
        (5, 3, "got 5 of 3"),
        (-1, 3, "got -1 of 3"),
        (1, 0, "got 1 of 0"),
        (0, -3, "got 0 of -3"),
        ("a", 3, "got 'a' of 3"),
        (1, None, "got 1 of None"),
        (1, math.inf, "got 1 of inf"),
        (math.nan, 3, "got nan of 3"),
    ],
)
def test_wilson_refuses_more_hits_than_cases(hits, count, words):
    with pytest.raises(OptionError, match=f"hits must be from 0 to the count, {words}"):
        wilson(hits, count)


@pytest.mark.parametrize("confidence", [0, 1, 1.5, "a", math.nan])
def test_wilson_refuses_what_is_no_confidence(confidence):
    with pytest.raises(OptionError, match="confidence must be above 0 and below 1"):
        wilson(1, 2, confidence)


def test_wilson_has_bounds_at_both_ends():
    assert wilson(0, 4)[0] == 0 < wilson(0, 4)[1] < 1
    assert wilson(4, 4) == pytest.approx(tuple(1 - bound for bound in reversed(wilson(0, 4))))
