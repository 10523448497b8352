"""All pairs of methods: intervals at the Bonferroni level, and how often they hold together."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from pellucid.errors import OptionError
from pellucid.statistics import all_pairs, pairs
from tests.statistics import naive
from tests.statistics.test_paired import pair, rng


def test_pairs_come_in_the_order_of_the_methods():
    found = all_pairs({name: rng().random(9) for name in "cab"})
    assert [(one.first, one.second) for one in found] == [("c", "a"), ("c", "b"), ("a", "b")]


def test_hits_have_tangos_interval_at_a_third_of_the_level():
    first, second = pair(12, 5, 20, 10)
    found = all_pairs({"a": first, "b": second, "c": np.roll(first, 5)})[0]
    expected = naive.tango_bounds(12, 5, 47, 1 - 0.05 / 3)
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


def of_methods(kind, cases):
    """Scores (cases, 5): hits, rare hits, fractions, or some of each."""
    source = rng()
    hits = (source.random((cases, 5)) < (0.1 if kind == "rare" else 0.6)).astype(float)
    fractions = source.beta(1, 4, size=(cases, 5))
    return {"fractions": fractions, "mixed": np.where(np.arange(5) < 3, hits, fractions)}.get(kind, hits)


def replicas(methods, whose, confidence):
    """Each pair by itself."""
    names = list(itertools.combinations(methods, 2))
    each = 1 - (1 - confidence) / len(names)
    return [(a, b, *naive.difference_of_pair(methods[a], methods[b], whose, each)) for a, b in names]


def listed(found):
    """The numbers and the reason of each pair."""
    return [
        (p.first, p.second, d.estimate, d.low, d.high, d.count, d.patients, d.excluded, d.withheld)
        for p in found
        for d in [p.difference]
    ]


def assert_alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (*one[:2], *one[5:]) == (*other[:2], *other[5:])
        assert one[2:5] == pytest.approx(other[2:5], abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("missing", [0, 0.2, "columns"])
@pytest.mark.parametrize("most", [1, 3, 9])
@pytest.mark.parametrize("kind", ["hits", "rare", "fractions", "mixed"])
def test_it_equals_each_pair_by_itself(kind, most, missing):
    shown = 0
    for count in (1, 15, 45):
        whose = np.repeat(np.arange(count), rng().integers(1, most + 1, size=count)).tolist()
        table = of_methods(kind, len(whose))
        if missing == "columns":
            table[: count // 3, 1] = table[:, 4] = np.nan
        else:
            table[rng().random(table.shape) < missing] = np.nan
        methods = dict(zip("abcde", table.T, strict=True))
        expected = replicas(methods, whose, 0.9)
        assert_alike(listed(all_pairs(methods, whose, confidence=0.9)), expected)
        shown += sum(one[-1] is None for one in expected)
    assert shown > 5


def test_the_cases_of_many_pairs_are_gathered_once(monkeypatch):
    calls = []

    def counting(*args):
        calls.append(args)
        return complete(*args)

    complete = pairs.complete
    monkeypatch.setattr(pairs, "complete", counting)
    methods = {str(name): rng().permutation(60) / 60 for name in range(15)}
    all_pairs(methods, [k // 2 for k in range(60)])
    assert len(calls) == 1  # of 105 pairs
    methods["3"][5] = np.nan
    all_pairs(methods, [k // 2 for k in range(60)])
    assert len(calls) == 3


def test_many_cases_are_taken_some_pairs_at_a_time(monkeypatch):
    methods = dict(zip("abcde", of_methods("mixed", 45).T, strict=True))
    whole = listed(all_pairs(methods))
    for size in (1, 45, 100):
        monkeypatch.setattr(pairs, "CHUNK", size)
        assert listed(all_pairs(methods)) == whole


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
