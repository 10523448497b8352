"""The rank correlation by patient, against SciPy and a plain jackknife."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr, t

from pellucid.errors import ShapeError
from pellucid.statistics import rank_correlation


def drawn(patients: int, each: int, seed: int, shared: float = 0.6, slope: float = 0.5) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    common = np.repeat(rng.normal(size=(patients, 2)), each, axis=0)
    own = rng.normal(size=(patients * each, 2))
    common[:, 1] += slope * common[:, 0]
    own[:, 1] += slope * own[:, 0]
    values = math.sqrt(shared) * common + math.sqrt(1 - shared) * own
    return values[:, 0], np.round(values[:, 1], 1), np.repeat(np.arange(patients), each)


def test_the_estimate_is_scipys_and_nan_is_left_out() -> None:
    a, b, patients = drawn(25, 3, seed=1)
    a[4] = b[9] = math.nan
    kept = ~(np.isnan(a) | np.isnan(b))
    found = rank_correlation(a, b, patients)
    assert found.estimate == pytest.approx(spearmanr(a[kept], b[kept])[0], abs=1e-12)
    assert (found.count, found.patients, found.excluded) == (73, 25, 2)


def test_the_interval_is_a_jackknife_of_patients() -> None:
    a, b, patients = drawn(22, 3, seed=2)
    whole = math.atanh(spearmanr(a, b)[0])
    pseudo = [22 * whole - 21 * math.atanh(spearmanr(a[patients != one], b[patients != one])[0]) for one in range(22)]
    half = t.ppf(0.975, 21) * np.std(pseudo, ddof=1) / math.sqrt(22)
    found = rank_correlation(a, b, patients)
    assert found.low == pytest.approx(math.tanh(np.mean(pseudo) - half), abs=1e-9)
    assert found.high == pytest.approx(math.tanh(np.mean(pseudo) + half), abs=1e-9)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    truth = spearmanr(*drawn(20_000, 4, seed=3)[:2])[0]
    hits = [rank_correlation(*drawn(25, 4, seed=100 + number)).contains(truth) for number in range(120)]
    assert 0.89 <= np.mean(hits) <= 1


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([], [], "no cases"),
        ([1.0] * 30, range(30), "all values are equal"),
        (range(12), [3, 1, 2] * 4, "fewer than 20 patients"),
        (range(30), range(30), "the order is the same"),
        ([0.0] * 29 + [1.0], [*list(range(29)), 5], "all values but those of one patient are equal"),
    ],
)
def test_what_has_no_interval_says_why(a: list[float], b: list[float], reason: str) -> None:
    found = rank_correlation(list(a), list(b))
    assert found.withheld == reason
    assert math.isnan(found.low)


def test_columns_of_different_lengths_are_one_line() -> None:
    with pytest.raises(ShapeError, match="lengths that differ"):
        rank_correlation([1, 2], [1, 2, 3])
