"""Ranks and Kendall's τ, compared with scipy and a loop over pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata

from pellucid.errors import OptionError, ShapeError
from pellucid.statistics import kendall, ranks
from tests.statistics import naive

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=15)


@given(PAIRS)
def test_kendalls_tau_equals_scipys_and_a_loop(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    found = kendall(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found.undefined == "one score is the same for all methods"
        assert math.isnan(found.tau)
    else:
        assert found.tau == pytest.approx(kendalltau(first, second).statistic)
        assert found.tau == pytest.approx(naive.kendall(first, second))


def test_tau_counts_what_it_leaves_out():
    found = kendall([1, 2, math.nan, 3], [1, 2, 5, math.nan])
    assert (found.tau, found.count, found.excluded) == (1, 2, 2)
    assert kendall([1, math.nan], [1, 2]).undefined == "fewer than two methods have scores"
    assert str(kendall([], [])) == "no τ: fewer than two methods have scores"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=12))
def test_ranks_equal_scipys(values):
    names = [str(index) for index in range(len(values))]
    found = {rank.method: rank.by_metric["hits"] for rank in ranks({"hits": dict(zip(names, values, strict=True))})}
    assert [found[name] for name in names] == rankdata([-value for value in values]).tolist()


def test_the_spread_between_metrics_stands_beside_the_mean():
    found = ranks(
        {
            "hits": {"gradcam": 0.6, "rise": 0.5, "saliency": 0.7},
            "deletion": {"saliency": -0.9, "gradcam": -0.1, "rise": -0.2},
            "mass": {"gradcam": 0.3, "rise": 0.3, "saliency": math.nan},
        }
    )
    assert [rank.method for rank in found] == ["gradcam", "saliency", "rise"]
    first, last, _ = found
    assert (first.mean, first.best, first.worst, first.spread) == ((2 + 1 + 1.5) / 3, 1, 2, 1)
    assert (last.mean, last.best, last.worst) == (2, 1, 3)
    assert math.isnan(last.by_metric["mass"])
    assert str(last) == "saliency: 2.0 (1 to 3)"


def test_a_method_without_any_value_comes_last():
    found = ranks({"hits": {"gradcam": math.nan, "rise": 0.5}})
    assert [rank.method for rank in found] == ["rise", "gradcam"]
    assert math.isnan(found[1].mean)
    assert math.isnan(found[1].spread)


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ({}, OptionError, "at least one metric of one method"),
        ({"hits": {}}, OptionError, "at least one metric of one method"),
        ({"hits": {"a": 1.0}, "mass": {"b": 1.0}}, OptionError, "mass differs in: a, b"),
        ({"hits": {1: 1.0}, "mass": {"b": 1.0}}, OptionError, "mass differs in: 1, b"),
        ([1, 2], OptionError, r"metrics must have a value for each method, got list: write \{'hits': \{'gradcam'"),
        (None, OptionError, "metrics must have a value for each method, got NoneType"),
        ({"hits": [1, 2]}, OptionError, "metrics of hits must have a value for each method, got list"),
        ({"hits": {"a": math.inf}}, OptionError, "must be finite"),
        ({"hits": {"a": "best"}}, ShapeError, "must be an array"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(metrics, error, message):
    with pytest.raises(error, match=message):
        ranks(metrics)


def test_a_large_table_is_ranked_metric_by_metric():
    table = np.random.default_rng(0).random((6, 4))
    metrics = {f"m{k}": {f"x{j}": float(table[j, k]) for j in range(6)} for k in range(4)}
    expected = np.stack([rankdata(-table[:, k]) for k in range(4)], axis=1).mean(axis=1)
    assert {rank.method: rank.mean for rank in ranks(metrics)} == pytest.approx(
        {f"x{j}": expected[j] for j in range(6)}
    )
