"""Estimates of subgroups, and groups that are too small for one."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from pellucid.errors import OptionError, ShapeError
from pellucid.statistics import mean, proportion, subgroups
from tests.statistics.test_paired import rng


def test_each_group_has_its_own_estimate():
    hits = rng().random(60) < 0.7
    groups = ["small", "large", "large"] * 20
    found = subgroups(hits, groups, proportion)
    assert list(found) == ["small", "large"]
    assert found["small"] == proportion(hits[::3])
    assert found["large"] == proportion(hits[np.arange(60) % 3 > 0])


def test_a_group_of_fewer_than_twenty_patients_has_a_count_only():
    found = subgroups([1] * 39, ["a"] * 20 + ["b"] * 19, proportion)
    assert found["a"].withheld is None
    assert found["b"].withheld == "fewer than 20 patients"
    assert math.isnan(found["b"].estimate)
    assert found["b"].count == 19


def test_patients_count_and_not_cases():
    found = subgroups([1, 0] * 30, ["a"] * 60, proportion, [k % 10 for k in range(60)])
    assert (found["a"].count, found["a"].patients, found["a"].withheld) == (60, 10, "fewer than 20 patients")


def test_missing_values_do_not_count_and_are_counted():
    found = subgroups([math.nan] * 5 + [1.0] * 19, ["a"] * 24, proportion)
    assert (found["a"].count, found["a"].excluded, found["a"].withheld) == (19, 5, "fewer than 20 patients")


def test_unknown_groups_are_one():
    found = subgroups([1] * 4, [None, math.nan, "a", np.float64("nan")], proportion)
    assert {name: interval.count for name, interval in found.items()} == {None: 3, "a": 1}


def test_any_estimate_of_values_can_be_used():
    values = rng().random(50)
    found = subgroups(values, np.array([1, 2]).repeat(25), partial(mean, generator=rng()))
    assert found[1].low == mean(values[:25], generator=rng()).low


def test_lengths_that_differ_are_refused():
    with pytest.raises(ShapeError, match="values: 3, groups: 2, patients: 3"):
        subgroups([1, 0, 1], ["a", "b"], proportion)
    with pytest.raises(ShapeError, match="patients: 1"):
        subgroups([1, 0], ["a", "b"], proportion, ["P"])


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (
            mean,
            r"estimate mean cannot be called with values and patients \(.*'generator'\): .*partial\(mean, generator",
        ),
        (lambda values: values, r"estimate <lambda> cannot be called with values and patients"),
        ("mean", "estimate 'mean' was given, which is no function: give a function such as proportion"),
    ],
)
def test_estimates_of_other_arguments_are_refused_before_any_is_made(estimate, words):
    with pytest.raises(OptionError, match=words) as caught:
        subgroups([1] * 3, ["a"] * 3, estimate)
    assert "\n" not in str(caught.value)
