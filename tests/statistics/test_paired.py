"""Paired tests, compared with all outcomes, all signs, and scipy's and statsmodels' values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, permutation_test

from pellucid.errors import OptionError
from pellucid.statistics import Claim, Plan, compare, verdicts
from pellucid.statistics.distributions import poisson_binomial
from pellucid.statistics.paired import expected_hits, mcnemar, sign_flips
from tests.statistics import naive
from tests.statistics.oracles import ORACLES


def pair(wins, losses, both=3, neither=2):
    """Hits of two methods of which the first hits alone in ``wins`` cases, the second in ``losses``."""
    first = [1] * wins + [0] * losses + [1] * both + [0] * neither
    second = [0] * wins + [1] * losses + [1] * both + [0] * neither
    return np.array(first, dtype=float), np.array(second, dtype=float)


def rng():
    return np.random.default_rng(3)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_mid_p_tail(wins, losses):
    expected = binom.sf(wins, wins + losses, 0.5) + binom.pmf(wins, wins + losses, 0.5) / 2
    assert mcnemar(*pair(wins, losses)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("wins", "losses", "exact"), ORACLES["exact_mcnemar"])
def test_the_two_sided_value_is_statsmodels_exact_one_less_the_table_s_probability(wins, losses, exact):
    found = compare(*pair(wins, losses), generator=rng())
    expected = min(1.0, exact - binom.pmf(wins, wins + losses, 0.5)) if wins != losses else 1.0  # Fagerland 2013
    assert found.test == "mid-p McNemar"
    assert found.two_sided == pytest.approx(expected, abs=1e-12)
    assert found.better + found.worse == pytest.approx(1)


def test_expected_hits_are_summed_over_all_outcomes():
    source = rng()
    for size in (1, 4, 9):
        chances = source.random(size)
        for hits in range(size + 1):
            column = np.array([1.0] * hits + [0.0] * (size - hits))
            assert expected_hits(column, chances) == pytest.approx(naive.poisson_binomial_tail(hits, chances))


def test_equal_probabilities_are_binomial():
    assert poisson_binomial(np.full(300, 0.2)) == pytest.approx(binom.pmf(np.arange(301), 300, 0.2), abs=1e-12)


def test_the_random_prior_is_compared_by_its_probabilities():
    hits, chances = [1, 1, 0, 1], [0.2, 0.3, 0.1, 0.4]
    found = compare(hits, chances, generator=rng())
    assert found.test == "mid-p Poisson-binomial"
    assert found.better == pytest.approx(naive.poisson_binomial_tail(3, chances))
    assert found.worse == pytest.approx(1 - found.better)
    assert found.difference == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_equal_a_loop_over_all_signs(seed):
    source = np.random.default_rng(seed)
    whose = np.repeat(np.arange(8), source.integers(1, 4, size=8)).tolist()
    differences = source.integers(-1, 2, size=len(whose)).astype(float)
    found = compare(differences, np.zeros(len(whose)), whose, generator=rng())
    assert found.test == "sign flips by patient"
    assert (found.better, found.worse) == pytest.approx(naive.flips(differences.tolist(), whose))


def test_sign_flips_of_continuous_scores_equal_scipys():
    values = rng().normal(0.4, 1, size=10)
    expected = permutation_test(
        (values,), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    ).pvalue
    assert sign_flips(values[:, None], rng())[0][0] == pytest.approx(expected)


def test_sign_flips_of_single_hits_are_mcnemars_but_for_one_arrangement():
    first, second = pair(9, 2)
    better, worse = sign_flips((first - second)[:, None], rng())
    assert better[0] == pytest.approx(mcnemar(first, second) + 0.5 / 2**11)
    assert worse[0] == pytest.approx(1 - mcnemar(first, second) + 0.5 / 2**11)


def test_random_signs_come_near_to_all_signs():
    values = rng().normal(0.25, 1, size=(14, 2))
    every = [naive.flips(column.tolist(), list(range(14)))[0] for column in values.T]
    assert sign_flips(values, rng())[0] == pytest.approx(every, abs=0.015)  # three standard errors


def test_the_smallest_value_of_random_signs_counts_the_data():
    better, worse = sign_flips(np.full((40, 1), 0.3), rng())
    assert better[0] == 1 / 10_000
    assert worse[0] == 1


def test_many_patients_are_flipped_in_chunks(monkeypatch):
    values = rng().normal(0.1, 1, size=(30, 3))
    whole = sign_flips(values, rng())
    monkeypatch.setattr("pellucid.statistics.paired.CHUNK", 30 * 4096)
    chunked = sign_flips(values, rng())
    assert np.array_equal(whole, chunked)


def test_patients_without_a_difference_change_nothing():
    values = rng().normal(0.5, 1, size=(9, 1))
    assert np.array_equal(sign_flips(values, rng()), sign_flips(np.vstack([values, np.zeros((50, 1))]), rng()))


def test_the_order_of_cases_and_the_names_of_patients_do_not_matter():
    source = rng()
    first, second, whose = source.random(12), source.random(12), [k % 5 for k in range(12)]
    order = source.permutation(12)
    one = compare(first, second, whose, generator=rng())
    other = compare(first[order], second[order], [f"P{whose[k]}" for k in order], generator=rng())
    assert (one.better, one.worse) == (other.better, other.worse)
    assert one.difference == pytest.approx(other.difference)


def test_several_cases_of_a_patient_are_not_independent():
    first, second = pair(6, 0, 0, 0)
    independent = compare(first, second, generator=rng()).better
    together = compare(first, second, ["a", "a", "a", "b", "b", "b"], generator=rng()).better
    assert independent == pytest.approx(0.5**7)
    assert together == pytest.approx(0.25)


def test_the_random_prior_s_expected_hits_are_values_where_patients_have_several_cases():
    hits, chances, whose = [1, 1, 0, 1], [0.2, 0.3, 0.1, 0.4], ["a", "a", "b", "b"]
    found = compare(hits, chances, whose, generator=rng())
    assert found.test == "sign flips by patient"
    assert found.better == pytest.approx(naive.flips([0.8, 0.7, -0.1, 0.6], whose)[0])


@pytest.mark.parametrize(
    ("first", "patients", "test"),
    [([], None, "no cases"), ([math.nan, math.nan], None, "no cases"), ([1, 1], ["a", "a"], "one patient only")],
)
def test_where_no_test_is_possible_nothing_is_shown(first, patients, test):
    found = compare(first, [0] * len(first), patients, generator=rng())
    assert (found.test, found.better, found.worse, found.two_sided) == (test, 1, 1, 1)


def test_a_case_is_left_out_where_either_score_is_missing():
    found = compare([1, math.nan, 1, 1], [0, 0, math.nan, 0], generator=rng())
    assert (found.count, found.excluded, found.better) == (2, 2, 0.125)


def test_equal_scores_show_nothing():
    found = compare([1, 0, 1], [1, 0, 1], generator=rng())
    assert (found.better, found.worse) == (0.5, 0.5)
    found = compare([0.3, 0.2, 0.1], [0.3, 0.2, 0.1], generator=rng())
    assert (found.better, found.worse) == (1, 1)


def test_probabilities_beyond_one_are_refused():
    with pytest.raises(OptionError, match="from 0 to 1"):
        expected_hits(np.array([1.0]), np.array([1.5]))


def test_the_generator_is_the_only_source_of_random_numbers():
    values = rng().normal(0.2, 1, size=40)
    np.random.seed(1)
    state = np.random.get_state()[1].copy()
    one, same = (compare(values, values * 0, generator=rng()).better for _ in range(2))
    other = compare(values, values * 0, generator=np.random.default_rng(99)).better
    assert one == same != other
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("count", [143, 300])
@pytest.mark.parametrize("hit", [0.0, 1.0])
def test_p_values_of_extreme_results_are_shares(count: int, hit: float) -> None:
    """Sums of hundreds of probabilities round to a little more than 1."""
    for seed in range(3):
        chances = np.random.default_rng(seed).integers(1, 49, count) / 49
        found = compare(np.full(count, hit), chances, generator=np.random.default_rng(0))
        low, high = sorted([found.better, found.worse])
        assert 0 <= low < 0.01
        assert 0.99 < high <= 1
        named = Plan("random")
        (verdict,) = verdicts(
            {"m": np.full(count, hit)}, {"random": chances}, named, generator=np.random.default_rng(0)
        )
        assert verdict.claim is (Claim.BETTER if hit else Claim.WORSE)


def test_both_tails_add_up_to_one() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        hits, chances = rng.integers(0, 2, 12).astype(float), rng.random(12)
        one, other = compare(hits, chances, generator=rng), compare(hits, 1.0 - hits, generator=rng)
        assert one.better + one.worse == pytest.approx(1)
        assert other.better + other.worse == pytest.approx(1)
