"""What the statistics take: arrays, patients, missing values, and one line of message for what does not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pellucid import statistics
from pellucid.errors import OptionError, PellucidError, ShapeError
from pellucid.metrics.statistics import wilson
from pellucid.statistics import auroc, compare, difference, equivalent, kendall, mean, proportion
from pellucid.statistics.samples import sample
from tests.statistics.test_paired import rng


def test_the_names_are_sorted_and_complete():
    assert statistics.__all__ == sorted(statistics.__all__, key=lambda name: (name[0].islower(), name))
    for name in statistics.__all__:
        assert getattr(statistics, name).__doc__


def test_wilson_is_the_same_at_its_earlier_address():
    assert wilson is statistics.wilson


@pytest.mark.parametrize(
    "values",
    [
        [1, 0, 1],
        (True, False, True),
        np.array([1, 0, 1], dtype=np.uint8),
        torch.tensor([1.0, 0.0, 1.0]),
        torch.tensor([True, False, True]),
    ],
)
def test_any_array_of_numbers_is_taken(values):
    assert sample({"hits": values}).values[:, 0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    "patients",
    [
        ["a", "b", "a"],
        np.array([4, 9, 4]),
        torch.tensor([4, 9, 4]),
        [torch.tensor(4), torch.tensor(9), torch.tensor(4)],
        iter([("x", 1), ("x", 2), ("x", 1)]),
    ],
)
def test_patients_are_anything_that_can_be_a_key(patients):
    found = sample({"hits": [1, 0, 1]}, patients)
    assert (found.patient.tolist(), found.patients, found.clustered) == ([0, 1, 0], 2, True)
    assert found.sizes.tolist() == [2, 1]


def test_patients_whose_cases_are_all_missing_do_not_count():
    found = sample({"a": [math.nan, 1, 2, 3], "b": [0, 1, math.nan, 3]}, ["P", "Q", "R", "Q"])
    assert (found.count, found.patients, found.excluded) == (2, 1, 2)
    assert found.totals(found.values[:, 0]).tolist() == [4]


def test_none_marks_a_missing_value():
    assert sample({"hits": [1, None, 0]}).excluded == 1


@pytest.mark.parametrize(
    ("values", "patients", "error", "message"),
    [
        ([[1, 0]], None, ShapeError, r"hits must be an array \(N,\) of numbers, got shape \(1, 2\)"),
        (1.0, None, ShapeError, r"got shape \(\)"),
        ("yes", None, ShapeError, "of numbers"),
        ([[1], [1, 2]], None, ShapeError, "of numbers"),
        (torch.ones(2, requires_grad=True), None, ShapeError, "of numbers"),
        ([1, math.inf, -math.inf], None, OptionError, "got 2 infinite of 3"),
        ([1, 0.5], None, OptionError, r"hits must be 0, 1 or NaN \(missing\), got 0.5; for other values use mean\(\)"),
        ([1, 2], None, OptionError, "got 2"),
        ([1, 0], ["a"], ShapeError, r"lengths that differ \(hits: 2, patients: 1\)"),
        ([1, 0], ["a", None], OptionError, "got 1 of 2 that are None or NaN"),
        ([1, 0], [math.nan, math.nan], OptionError, "got 2 of 2"),
        ([1, 0], [["a"], ["b"]], OptionError, "keys of a dict"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values, patients, error, message):
    with pytest.raises(error, match=message) as raised:
        proportion(values, patients)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: compare([1, 0], [1], generator=rng()),
        lambda: difference([1, 0], [1], generator=rng()),
        lambda: equivalent([1, 0], [1], generator=rng()),
        lambda: auroc([1, 0], [1]),
        lambda: kendall([1, 0], [1]),
        lambda: mean([1, 0], ["a"], generator=rng()),
    ],
)
def test_lengths_that_differ_are_refused_everywhere(call):
    with pytest.raises(ShapeError, match="lengths that differ"):
        call()


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.1, math.nan])
def test_a_confidence_is_between_0_and_1(confidence):
    for call in (
        lambda: proportion([1, 0], confidence=confidence),
        lambda: mean([1, 0], generator=rng(), confidence=confidence),
        lambda: difference([1, 0], [1, 0], generator=rng(), confidence=confidence),
        lambda: auroc([1, 0], [1, 0], confidence=confidence),
        lambda: statistics.all_pairs({"a": [1], "b": [0]}, confidence=confidence),
    ):
        with pytest.raises(PellucidError, match="confidence must be above 0 and below 1"):
            call()


def test_nothing_of_the_users_is_changed():
    values, patients = rng().random(40), np.arange(40) // 2
    kept, names = values.copy(), patients.copy()
    mean(values, patients, generator=rng())
    compare(values, values[::-1], patients, generator=rng())
    auroc(values, values > 0.5, patients)
    assert np.array_equal(values, kept)
    assert np.array_equal(patients, names)


@pytest.mark.parametrize("generator", [0, None, torch.Generator()])
def test_a_generator_is_numpys(generator):
    for call in (mean, lambda one, generator: compare(one, one, generator=generator)):
        with pytest.raises(OptionError, match=r"such as numpy.random.default_rng\(0\)"):
            call([1, 0], generator=generator)
    for call in (difference, equivalent):
        with pytest.raises(OptionError, match="generator must be NumPy's"):
            call([1, 0], [1, 0], generator=generator)
