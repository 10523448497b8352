"""Equivalence and differences, compared with a numerical maximum of the likelihood and a loop over signs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from pellucid.errors import OptionError
from pellucid.statistics import difference, equivalent, mean
from pellucid.statistics.samples import sample
from pellucid.statistics.tango import Discordance, tango
from tests.statistics import naive
from tests.statistics.test_paired import pair, rng

TABLES = [(12, 3, 40), (5, 5, 30), (1, 20, 60), (30, 10, 50)]


@pytest.mark.parametrize(("wins", "losses", "count"), TABLES)
@pytest.mark.parametrize("shift", [-0.3, -0.1, 0.05, 0.1, 0.25])
def test_the_score_equals_that_of_the_most_likely_share(wins, losses, count, shift):
    assert tango(wins, losses, count, shift) == pytest.approx(naive.tango(wins, losses, count, shift), abs=1e-4)


def test_without_a_shift_it_is_mcnemars_score():
    assert tango(12, 3, 40, 0.0) == pytest.approx((12 - 3) / math.sqrt(12 + 3))
    assert tango(0, 0, 40, 0.0) == 0


def tango_interval(*counts):
    """The bounds of independent cases."""
    return tuple(float(bound[0]) for bound in Discordance(*(np.array([float(one)]) for one in counts)).interval(0.95))


@pytest.mark.parametrize(("wins", "losses", "count"), [*TABLES, (0, 0, 30), (7, 0, 20), (0, 9, 9)])
def test_the_interval_is_what_the_score_does_not_reject(wins, losses, count):
    low, high = tango_interval(wins, losses, count)
    assert -1 <= low <= (wins - losses) / count <= high <= 1
    for bound, sign in ((low, 1), (high, -1)):
        if abs(bound) < 1 - 1e-9:
            assert sign * tango(wins, losses, count, bound) == pytest.approx(1.959964, abs=1e-5)
    mirrored = tango_interval(losses, wins, count)
    assert mirrored == pytest.approx((-high, -low))


def test_hits_that_never_differ_have_an_interval():
    first, second = pair(0, 0, 20, 10)
    found = difference(first, second, generator=rng())
    z = norm.ppf(0.975)
    # Both bounds solve n Δ² = z² Δ (1 − Δ), or its mirror image.
    assert (found.low, found.high) == pytest.approx((-(z**2) / (30 + z**2), z**2 / (30 + z**2)))


def test_equivalence_of_hits_is_the_larger_of_two_tails():
    first, second = pair(6, 4, 60, 30)
    found = equivalent(first, second, generator=rng(), margin=0.1)
    assert found.test == "Tango's score test"
    assert found.not_below == pytest.approx(norm.sf(naive.tango(6, 4, 100, -0.1)), rel=1e-3)
    assert found.not_above == pytest.approx(norm.cdf(naive.tango(6, 4, 100, 0.1)), rel=1e-3)
    assert found.p == max(found.not_below, found.not_above)
    assert found.difference == pytest.approx(0.02)


def test_equivalence_agrees_with_the_interval_of_twice_the_level():
    for wins, losses in ((6, 4), (15, 5), (2, 9), (3, 14)):
        first, second = pair(wins, losses, 60, 40 - wins - losses)
        found = difference(first, second, generator=rng(), confidence=0.9)
        within = found.low > -0.1 and found.high < 0.1
        assert (equivalent(first, second, generator=rng()).p < 0.05) == within


@pytest.mark.parametrize("most", [2, 3, 9])
@pytest.mark.parametrize("rates", [(0.6, 0.6), (0.98, 0.9), (0.9, 0.98)])
def test_hits_of_several_cases_a_patient_count_as_the_design_effect_says(rates, most):
    source = np.random.default_rng(most)
    whose = np.repeat(np.arange(40), source.integers(1, most + 1, size=40))
    shared, own = source.random((40, 2))[whose], source.random((len(whose), 2))
    first, second = (np.where(source.random((len(whose), 2)) < 0.6, shared, own) < rates).astype(float).T
    groups = [(first - second)[whose == patient].tolist() for patient in range(40)]
    effect = naive.effect_of(groups)
    score = naive.tango_score(*(count / effect for count in (*discordance(first, second), len(whose))))
    found = equivalent(first, second, whose, generator=rng(), margin=0.15)
    assert found.test == "Tango's score test by patient"
    assert found.not_below == pytest.approx(t.sf(score(-0.15), 39), rel=1e-9)
    assert found.not_above == pytest.approx(t.cdf(score(0.15), 39), rel=1e-9)
    interval = difference(first, second, whose, generator=rng())
    expected = naive.difference_of_pair(first, second, whose.tolist(), 0.95)
    assert (interval.low, interval.high) == pytest.approx(expected[1:3], abs=1e-9)
    assert interval.withheld is None
    assert effect > 1


def discordance(first, second):
    return int((first > second).sum()), int((first < second).sum())


def test_cases_that_are_copies_count_once():
    """Each patient's three cases are alike: the test is that of a case each, but for Student's distribution."""
    first, second = pair(9, 4, 20, 7)
    alone = Discordance.of(sample({"first": first, "second": second}), (first - second)[None])
    copies = {"first": np.repeat(first, 3), "second": np.repeat(second, 3)}
    found = Discordance.of(sample(copies, np.repeat(np.arange(40), 3)), np.repeat(first - second, 3)[None])
    ratio = 40 / 39 * 119 / 120  # of the corrections m / (m − 1) and n / (n − 1)
    assert found.count.item() == pytest.approx(alone.count.item() / ratio)
    assert found.wins.item() == pytest.approx(9 / ratio)
    assert found.freedom == 39


def test_other_scores_are_flipped_about_the_margin():
    source = rng()
    first, second, whose = source.random(20), source.random(20), [k // 2 for k in range(20)]
    found = equivalent(first, second, whose, generator=rng(), margin=0.3)
    apart = first - second
    assert found.test == "sign flips by patient"
    assert found.not_below == pytest.approx(naive.flips((apart + 0.3).tolist(), whose)[0])
    assert found.not_above == pytest.approx(naive.flips((apart - 0.3).tolist(), whose)[1])


def test_a_wide_margin_is_met_and_a_narrow_one_is_not():
    values = rng().normal(size=40)
    shifted = values + rng().normal(0.05, 0.1, size=40)
    assert equivalent(values, shifted, generator=rng(), margin=0.5).p < 0.001
    assert equivalent(values, shifted, generator=rng(), margin=0.001).p > 0.5


def test_a_difference_of_other_scores_is_the_mean_of_differences():
    source = rng()
    first, second, whose = source.random(60), source.random(60), [k // 2 for k in range(60)]
    found = difference(first, second, whose, generator=rng())
    expected = mean(first - second, whose, generator=rng())
    assert (found.estimate, found.low, found.high) == (expected.estimate, expected.low, expected.high)


def test_missing_values_and_single_patients():
    found = difference([1, math.nan, 0], [0, 1, 0], generator=rng())
    assert (found.count, found.excluded) == (2, 1)
    assert difference([1, 0], [0, 0], ["a", "a"], generator=rng()).withheld == "fewer than 20 patients"
    assert difference([], [], generator=rng()).withheld == "no cases"
    for values, patients, test in (([], None, "no cases"), ([1, 0], ["a", "a"], "one patient only")):
        found = equivalent(values, values, patients, generator=rng())
        assert (found.test, found.p) == (test, 1)


@pytest.mark.parametrize("margin", [0, -0.1, math.nan, math.inf])
def test_a_margin_must_be_positive(margin):
    with pytest.raises(OptionError, match="the margin must be above 0"):
        equivalent([1, 0], [1, 0], generator=rng(), margin=margin)
