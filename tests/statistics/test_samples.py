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
        torch.tensor([1, 0, 1], dtype=torch.bfloat16),
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
        ([1, 0], 5, OptionError, r"patients must be a list or array \(N,\) with one name or number a case, got int"),
        ([1, 0], {4, 9}, OptionError, "a case, got set"),
        ([1, 0], {0: "a", 1: "b"}, OptionError, "a case, got dict"),
        ([1, 0], "ab", OptionError, "a case, got str"),
        ([1, 0], np.array(3), OptionError, "a case, got ndarray"),
        ([1, 0], torch.tensor(3), OptionError, "a case, got Tensor"),
        ([1j, 0], None, ShapeError, r"hits must be an array \(N,\) of real numbers, got complex128"),
        (np.array(["2020-01-01"], "datetime64[D]"), None, ShapeError, r"real numbers, got datetime64\[D\]"),
        ([1, -1e200], None, OptionError, "from -1e100 to 1e100, got -1e[+]200: scale them"),
        (torch.ones(2, device="meta"), None, ShapeError, "of numbers"),
        (torch.ones(2).to_sparse(), None, ShapeError, "of numbers"),
        ({1: 0}, None, ShapeError, "of numbers"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values, patients, error, message):
    with pytest.raises(error, match=message) as raised:
        proportion(values, patients)
    assert "\n" not in str(raised.value)


def test_masked_values_are_missing():
    hits = np.ma.masked_array([1, 0, 1, 1], [False, False, True, False])
    assert (proportion(hits).count, proportion(hits).excluded, proportion(hits).estimate) == (3, 1, 2 / 3)


def test_large_values_are_summed_without_a_warning():
    values = rng().normal(size=40) * 1e99
    small = mean(values / 1e99, generator=rng())
    assert mean(values, generator=rng()).high == pytest.approx(1e99 * small.high)


def test_lengths_name_the_arrays_that_differ():
    methods = {f"m{number}": [0.1] * (7 if number == 11 else 9) for number in range(15)}
    with pytest.raises(ShapeError, match=r"differ \(m0: 9, m1: 9, m11: 7\)$"):
        statistics.all_pairs(methods)


def test_scores_of_verdicts_are_called_by_the_names_of_methods_and_priors():
    plan = statistics.Plan("mask")
    for methods, priors, message in (
        ({"rise": [1, 0], "cam": ["x", "y"]}, {"mask": [1, 0]}, "the method 'cam' must be an array"),
        ({"rise": [1, 0]}, {"mask": [1, 0], "edges": [[1, 0]]}, "the prior 'edges' must be an array"),
        ({"rise": [1, 0]}, {"mask": [1]}, "the method 'rise': 2, the prior 'mask': 1"),
    ):
        with pytest.raises(ShapeError, match=message):
            statistics.verdicts(methods, priors, plan, generator=rng())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: statistics.all_pairs([[1, 0], [0, 1]]), r"methods must be a mapping of names to scores .*got list"),
        (lambda: statistics.verdicts([[1]], {"a": [1]}, statistics.Plan("a"), generator=rng()), "methods must be a"),
        (lambda: statistics.verdicts({"m": [1]}, [[1]], statistics.Plan("a"), generator=rng()), "priors must be a"),
        (lambda: statistics.verdicts({"m": [1]}, {"a": [1]}, "a", generator=rng()), "plan must be a Plan, such as"),
        (lambda: statistics.Plan("a", level="a"), "level='a' was given; write a number above 0"),
        (lambda: mean([1, 0], generator=rng(), confidence=None), "confidence must be above 0 and below 1, got None"),
        (lambda: mean([1, 0], generator=rng(), confidence=[0.9, 0.9]), "below 1, got "),
        (lambda: equivalent([1, 0], [1, 0], generator=rng(), margin="a"), "margin must be above 0.*got 'a'"),
        (lambda: statistics.cases_needed_by([1, 0], [1, 0], difference=None), "detect must be above 0, got None"),
        (lambda: statistics.subgroups([1, 0], 5, proportion), "groups must be a list or array"),
        (lambda: statistics.subgroups([1, 0], [[1], [2]], proportion), "groups must be .* keys of a dict"),
        (lambda: statistics.subgroups([1, 0], [1, 2], proportion, 5), "patients must be a list or array"),
        (lambda: statistics.holm([math.nan, 0.5]), "p-values must be from 0 to 1"),
        (lambda: statistics.holm(["a"]), "p-values must be an array"),
        (lambda: statistics.holm([[0.1, 0.2]]), r"p-values must be an array \(N,\) of numbers, got shape \(1, 2\)"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_one_line(call, message):
    with pytest.raises(PellucidError, match=message) as raised:
        call()
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
