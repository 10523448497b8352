"""Methods against their own negative controls, and several shuffles, against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pellucid.evaluation.judging.judging import judged
from pellucid.evaluation.judging.own_controls import by_partner, differences_of, over_shuffles, spreads_of
from pellucid.evaluation.measured import MetricFacts
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.statistics import difference
from tests.evaluation import naive_judging as naive
from tests.evaluation.made_scores import RATES, made

HIGHER, LOWER = (MetricFacts(better, proportion=False, needs_mask=True) for better in ("higher", "lower"))
SHUFFLES = 4


@pytest.fixture(scope="module")
def scores():
    """Scores of four shuffles; a tenth of the findings has no partner in one of them."""
    found = made(patients=40, seed=2)
    rng = np.random.default_rng(1)
    partners = np.stack([np.roll(np.arange(40), 1 + number) for number in range(SHUFFLES)], axis=1)
    partners[rng.random((40, SHUFFLES)) < 0.1] = -1
    tables = {name: np.where(partners < 0, np.nan, (rng.random((40, SHUFFLES)) < 0.3).astype(float)) for name in RATES}
    first = {name: table[:, 0] for name, table in tables.items()}
    return replace(found, partners=partners, reshuffled=tables, shuffled={**found.shuffled, **first})


@pytest.fixture(scope="module")
def controls(scores):
    return judged(scores, EvaluationPlan(), planned=True, plan_digest="").controls


def test_differences_are_finding_by_finding_to_the_mean_of_the_shuffles(scores, controls):
    for name, found in controls[0].differences.items():
        own = scores.values["label"][name]["pointing_game"].tolist()
        each = [value - naive.mean(row) for value, row in zip(own, scores.reshuffled[name].tolist(), strict=True)]
        assert found.estimate == pytest.approx(naive.mean(each))
        assert found.count == sum(not math.isnan(value) for value in each)
        assert found.low < found.estimate < found.high
    assert set(controls[0].differences) == set(RATES)


def test_of_shuffled_maps_they_are_by_the_finding_that_was_scored(scores, controls):
    for name, found in controls[1].differences.items():
        own, table = scores.values["label"][name]["pointing_game"].tolist(), scores.reshuffled[name]
        on_it = [
            [table[row, k] for k in range(SHUFFLES) for row in range(40) if scores.partners[row, k] == finding]
            for finding in range(40)
        ]
        each = [value - naive.mean(values) for value, values in zip(own, on_it, strict=True)]
        assert found.estimate == pytest.approx(naive.mean(each))


def test_of_an_untrained_network_they_are_those_of_pairs_of_hits(scores, controls):
    for name, found in controls[2].differences.items():
        own, patients = scores.values["label"][name]["pointing_game"], [one.patient for one in scores.images[:40]]
        assert found == difference(own, scores.untrained[name], patients, generator=np.random.default_rng(0))
    assert not controls[2].spreads


def test_spreads_are_those_of_the_means_of_the_shuffles(scores, controls):
    for control in controls[:2]:
        for name, found in control.spreads.items():
            means = [naive.mean(scores.reshuffled[name][:, k].tolist()) for k in range(SHUFFLES)]
            expected = [sum(means) / SHUFFLES, min(means), max(means)]
            assert [found.mean, found.lowest, found.highest] == pytest.approx(expected)
            assert found.shuffles == SHUFFLES


def test_where_lower_is_better_a_positive_difference_still_speaks_for_the_method():
    own, control = {"a": np.array([0.1, 0.3])}, {"a": np.array([0.5, 0.5]), "b": np.array([0.0, 0.0])}
    found = {
        facts.better: differences_of(own, control, ["p", "q"], facts, 0)["a"].estimate for facts in (LOWER, HIGHER)
    }
    assert found == {"lower": pytest.approx(0.3), "higher": pytest.approx(-0.3)}
    assert set(differences_of(own, control, ["p", "q"], HIGHER, 0)) == {"a"}


def test_what_has_no_value_is_left_out():
    table = np.array([[0.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(over_shuffles(table), [0.5, 1.0, np.nan])
    assert spreads_of({"none": table[2:]}) == {}
    moved = by_partner(table, np.array([[1, 2], [2, 0], [-1, -1]]))
    np.testing.assert_array_equal(moved, [[np.nan, 1.0], [0.0, np.nan], [np.nan, 1.0]])


def test_one_shuffle_has_a_spread_of_one(scores):
    found = judged(replace(scores, reshuffled={}), EvaluationPlan(), planned=True, plan_digest="")
    one = found.controls[0].spreads["good"]
    assert (one.shuffles, one.mean) == (1, one.lowest)
