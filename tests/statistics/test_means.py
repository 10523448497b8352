"""The bootstrap of means, compared with a loop over resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.statistics import mean
from pellucid.statistics.means import RESAMPLES, resamples


def rng():
    return np.random.default_rng(11)


def looped(values, whose, confidence=0.95):
    """The studentised bootstrap by the formula of the docstring, with the same draws."""
    names = sorted(set(whose))
    sums = [sum(v for v, w in zip(values, whose, strict=True) if w == name) for name in names]
    sizes = [whose.count(name) for name in names]
    m = len(names)

    def estimated(chosen):
        count = sum(sizes[k] for k in chosen)
        centre = sum(sums[k] for k in chosen) / count
        squares = sum((sums[k] - centre * sizes[k]) ** 2 for k in chosen)
        return centre, math.sqrt(m / (m - 1) * squares) / count

    centre, error = estimated(range(m))
    draws = rng().integers(m, size=RESAMPLES * m).reshape(RESAMPLES, m)
    scores = sorted((one - centre) / spread for one, spread in map(estimated, draws.tolist()))
    rank = (RESAMPLES + 1) * (1 - confidence) / 2
    lower, upper = scores[round(rank) - 1], scores[RESAMPLES - round(rank)]
    return centre - upper * error, centre - lower * error


@pytest.mark.parametrize("most", [1, 4])
def test_it_equals_a_loop(most):
    whose = np.repeat(np.arange(22), rng().integers(1, most + 1, size=22)).tolist()
    values = rng().beta(1, 4, size=len(whose))
    found = mean(values, whose, generator=rng())
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(looped(values.tolist(), whose))
    narrower = mean(values, whose, generator=rng(), confidence=0.8)
    assert (narrower.low, narrower.high) == pytest.approx(looped(values.tolist(), whose, 0.8))


def test_a_resample_draws_as_many_patients_as_there_are():
    drawn = resamples(7, rng(), 500)
    assert drawn.shape == (500, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(1, abs=0.15)


def test_it_follows_shift_and_scale():
    values = rng().gamma(2, size=40)
    one, other = mean(values, generator=rng()), mean(1e6 - 3 * values, generator=rng())
    assert (other.low, other.high) == pytest.approx((1e6 - 3 * one.high, 1e6 - 3 * one.low), abs=1e-4)


def test_normal_values_have_students_interval():
    values = rng().normal(size=2000)
    found = mean(values, generator=rng())
    half = 1.961 * values.std(ddof=1) / math.sqrt(2000)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_cases_that_are_copies_change_nothing():
    values = rng().random(30)
    one = mean(values, generator=rng())
    twice = mean(np.repeat(values, 2), np.repeat(np.arange(30), 2).tolist(), generator=rng())
    assert (one.low, one.high) == pytest.approx((twice.low, twice.high))
    assert twice.width > 1.3 * mean(np.repeat(values, 2), generator=rng()).width


@pytest.mark.parametrize(
    ("values", "patients", "reason"),
    [
        ([], None, "no cases"),
        ([math.nan] * 50, None, "no cases"),
        (np.arange(19.0), None, "fewer than 20 patients"),
        (np.arange(50.0), [k % 19 for k in range(50)], "fewer than 20 patients"),
        (np.arange(50.0), [0] * 50, "fewer than 20 patients"),
        ([0.3] * 50, None, "fewer than 10 patients differ from the most frequent value"),
        ([0.0] * 41 + list(range(1, 10)), None, "fewer than 10 patients differ from the most frequent value"),
        (
            [0.1, 0.2, 0.2, 0.1] * 15,
            [k // 2 for k in range(60)],
            "fewer than 10 patients differ from the most frequent value",
        ),
    ],
)
def test_an_interval_whose_coverage_was_not_shown_is_withheld(values, patients, reason):
    found = mean(values, patients, generator=rng())
    assert found.withheld == reason
    assert math.isnan(found.low)
    assert str(found).endswith(f"interval withheld: {reason}")


def test_ten_patients_that_differ_suffice():
    assert mean([0.0] * 40 + list(range(1, 11)), generator=rng()).withheld is None


def test_missing_values_are_counted():
    values = rng().random(30)
    found = mean(np.append(values, math.nan), generator=rng())
    expected = mean(values, generator=rng())
    assert (found.low, found.high, found.excluded) == (expected.low, expected.high, 1)


def test_it_covers_the_mean_of_skewed_values():
    source, missed = np.random.default_rng(4), 0
    for _ in range(300):
        missed += not mean(source.beta(0.5, 4, size=25), generator=source).contains(0.5 / 4.5)
    assert missed <= 24  # 8 %
