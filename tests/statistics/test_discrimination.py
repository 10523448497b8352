"""The area under the ROC curve, compared with loops over pairs, scikit-learn and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, t

from pellucid.errors import OptionError
from pellucid.statistics import auroc
from tests.statistics import naive
from tests.statistics.oracles import ORACLES
from tests.statistics.test_paired import rng


def study(count, patients, ties=1):
    source = rng()
    hits = source.random(count) < 0.6
    scores = np.round(source.normal(size=count) + hits, ties)
    return scores, hits.astype(float), source.integers(patients, size=count).tolist()


def test_it_equals_scikit_learns():
    known = ORACLES["auroc"]
    assert auroc(known["scores"], known["hits"]).estimate == pytest.approx(known["area"])


def test_it_is_mann_whitneys_statistic():
    scores, hits, _ = study(70, 70)
    expected = mannwhitneyu(scores[hits == 1], scores[hits == 0]).statistic / (hits.sum() * (1 - hits).sum())
    assert auroc(scores, hits).estimate == pytest.approx(expected)


@pytest.mark.parametrize("patients", [200, 40])
def test_the_interval_equals_a_loop(patients):
    scores, hits, whose = study(90, patients)
    found = auroc(scores, hits, whose, confidence=0.9)
    area, error = naive.area(scores, hits), naive.area_error(scores.tolist(), hits.tolist(), whose)
    fewest = min(len({w for w, h in zip(whose, hits, strict=True) if h == outcome}) for outcome in (0, 1))
    half = t.ppf(0.95, fewest - 1) * error / (area * (1 - area))
    expected = [1 / (1 + math.exp(-(math.log(area / (1 - area)) + sign * half))) for sign in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_with_one_case_a_patient_the_error_is_delongs():
    scores, hits, _ = study(60, 60, ties=3)
    positive, negative = scores[hits == 1], scores[hits == 0]
    order = (positive[:, None] > negative) + (positive[:, None] == negative) / 2
    variance = order.mean(1).var(ddof=1) / len(positive) + order.mean(0).var(ddof=1) / len(negative)
    found, area = auroc(scores, hits), order.mean()
    half = t.ppf(0.975, min(len(positive), len(negative)) - 1) * math.sqrt(variance) / (area * (1 - area))
    assert found.high == pytest.approx(1 / (1 + math.exp(-(math.log(area / (1 - area)) + half))))


def test_it_depends_on_the_order_of_the_scores_only():
    scores, hits, whose = study(80, 40)
    one, other = auroc(scores, hits, whose), auroc(np.exp(scores), hits, whose)
    assert (one.estimate, one.low, one.high) == (other.estimate, other.low, other.high)
    mirrored = auroc(-scores, hits, whose)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - one.high, 1 - one.low))


@pytest.mark.parametrize(
    ("misses", "hits", "reason"),
    [
        (9, 30, "fewer than 10 misses (9)"),
        (30, 9, "fewer than 10 hits (9)"),
        (0, 30, "fewer than 10 misses (0)"),
        (30, 0, "fewer than 10 hits (0)"),
        (0, 0, "fewer than 10 misses (0)"),
    ],
)
def test_with_few_misses_or_hits_the_count_is_shown(misses, hits, reason):
    scores = rng().random(misses + hits)
    found = auroc(scores, [0] * misses + [1] * hits)
    assert found.withheld == reason
    assert math.isnan(found.low)
    assert math.isnan(found.estimate) == (not misses or not hits)
    assert str(found) == f"{misses + hits} cases of {misses + hits} patients; interval withheld: {reason}"


def test_ten_misses_suffice_unless_they_are_of_fewer_patients():
    scores = rng().random(40)
    hits = [0] * 10 + [1] * 30
    assert auroc(scores, hits).withheld is None
    whose = [k % 5 for k in range(10)] + list(range(10, 40))
    assert auroc(scores, hits, whose).withheld == "fewer than 10 patients with misses"


def test_scores_that_separate_all_hits_have_no_interval():
    found = auroc(list(range(40)), [0] * 20 + [1] * 20)
    assert (found.estimate, found.withheld) == (1, "the scores separate all hits from all misses")


def test_missing_values_are_counted():
    scores, hits, _ = study(60, 60)
    found = auroc(np.append(scores, [math.nan, 1]), np.append(hits, [1, math.nan]))
    assert (found.excluded, found.low) == (2, auroc(scores, hits).low)


def test_hits_are_hits():
    with pytest.raises(OptionError, match="hits must be 0, 1 or NaN"):
        auroc([0.1, 0.2], [0.5, 1])


def test_the_interval_covers():
    source, missed, shown = np.random.default_rng(6), 0, 0
    for _ in range(400):
        hits = source.random(50) < 0.6
        found = auroc(source.normal(size=50) + 0.7416 * hits, hits)
        shown += found.withheld is None
        missed += found.withheld is None and not found.contains(0.7)
    assert shown > 390
    assert missed <= 31  # 8 %


def test_scores_that_tell_nothing_have_no_interval_of_width_0():
    hits = np.arange(60) % 2
    for scores in (np.full(60, 0.1 + 0.2), np.zeros(60)):
        found = auroc(scores, hits)
        assert found.estimate == 0.5
        assert found.withheld == "the scores are equal, or those of each patient balance"
    each = np.where(hits, 1.0, 0.0) * np.where(np.arange(60) % 4 < 2, 1, -1)
    assert auroc(each, hits, (np.arange(60) // 4).tolist()).withheld == found.withheld
    assert auroc(each + np.linspace(0, 0.1, 60), hits).withheld is None
