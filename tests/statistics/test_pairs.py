"""All pairs of methods: intervals at the Bonferroni level, and how often they hold together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pellucid.errors import OptionError
from pellucid.statistics import all_pairs
from pellucid.statistics.tango import tango_interval
from tests.statistics.test_paired import pair, rng


def test_pairs_come_in_the_order_of_the_methods():
    found = all_pairs({name: rng().random(9) for name in "cab"})
    assert [(one.first, one.second) for one in found] == [("c", "a"), ("c", "b"), ("a", "b")]


def test_hits_have_tangos_interval_at_a_third_of_the_level():
    first, second = pair(12, 5, 20, 10)
    found = all_pairs({"a": first, "b": second, "c": np.roll(first, 5)})[0]
    expected = tango_interval(12, 5, 47, 1 - 0.05 / 3)
    assert (found.difference.low, found.difference.high) == pytest.approx(expected)
    assert found.difference.estimate == pytest.approx(7 / 47)


def test_other_scores_have_students_interval():
    source = rng()
    methods, whose = {name: source.random(60) for name in "abcd"}, [k // 2 for k in range(60)]
    for one in all_pairs(methods, whose, confidence=0.9):
        apart = methods[one.first] - methods[one.second]
        sums = [apart[2 * k] + apart[2 * k + 1] - 2 * apart.mean() for k in range(30)]
        error = math.sqrt(30 / 29 * sum(value**2 for value in sums)) / 60
        half = stats.t.ppf(1 - 0.1 / 6 / 2, 29) * error
        assert (one.difference.low, one.difference.high) == pytest.approx((apart.mean() - half, apart.mean() + half))


def test_a_reversed_pair_is_mirrored():
    source = rng()
    methods = {name: source.random(30) for name in "ab"}
    (one,), (other,) = all_pairs(methods), all_pairs({"b": methods["b"], "a": methods["a"]})
    assert (one.difference.low, one.difference.high) == pytest.approx((-other.difference.high, -other.difference.low))


def test_pairs_that_cannot_be_estimated_are_withheld():
    same = rng().random(30)
    (found,) = all_pairs({"a": same, "b": same})
    assert found.difference.withheld == "fewer than 10 patients differ from the most frequent value"
    (found,) = all_pairs({"a": [1, 0], "b": [0, 0]}, ["P", "P"])
    assert found.difference.withheld == "fewer than 20 patients"
    (found,) = all_pairs({"a": [], "b": []})
    assert found.difference.withheld == "no cases"
    (found,) = all_pairs({"a": [0.1, math.nan, 0.2], "b": [0.1, 0.3, math.nan]})
    assert (found.difference.count, found.difference.excluded) == (1, 2)
    assert str(found).startswith("a − b: 1 case of 1 patient; interval withheld")


@pytest.mark.parametrize("methods", [{}, {"a": [1, 0]}])
def test_two_methods_are_needed(methods):
    with pytest.raises(OptionError, match="at least two methods"):
        all_pairs(methods)


def test_all_intervals_hold_together():
    source, missed = np.random.default_rng(8), 0
    for _ in range(150):
        shared = source.random((50, 1))
        hits = np.where(source.random((50, 6)) < 0.6, shared, source.random((50, 6))) < 0.6
        found = all_pairs(dict(zip("abcdef", hits.T, strict=True)))
        missed += any(not one.difference.contains(0) for one in found)
    assert missed <= 13  # 9 %; without Bonferroni 40 %
