"""Comparisons of two maps: beside naive replicas, scikit-image and scipy, and where there is nothing to compare."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

import pellucid
from pellucid.core.metric import CONSTANT_MAP, EMPTY_MAP, NOT_FINITE
from pellucid.errors import OptionError, ShapeError
from pellucid.metrics import L2, MSSSIM, SSIM, CentreShift, Pearson, Spearman, TopKOverlap
from tests.metrics import naive
from tests.metrics.judging import random_maps

ALL = [SSIM(), MSSSIM(), Spearman(), Pearson(), TopKOverlap(), L2(), CentreShift()]
REPLICAS = [
    (Spearman(), naive.spearman),
    (Pearson(), naive.pearson),
    (TopKOverlap(), naive.topk_overlap),
    (TopKOverlap(share=0.4), lambda a, b: naive.topk_overlap(a, b, 0.4)),
    (L2(), naive.l2),
    (CentreShift(), naive.centre_shift),
    (SSIM(), lambda a, b: naive.ssim_parts(a, b)[0]),
]


def related(space, count=4, seed=0):
    a, noise = random_maps(count, space, seed), random_maps(count, space, seed + 1)
    return a, 0.75 * a + 0.25 * noise


@pytest.mark.parametrize("space", [(12, 17), (11, 12, 13)])
@pytest.mark.parametrize(("metric", "replica"), REPLICAS, ids=lambda one: getattr(one, "__name__", str(one))[:40])
def test_values_equal_a_replica_s(metric, replica, space):
    a, b = related(space, count=3 if len(space) == 2 else 1)
    expected = [replica(x.numpy(), y.numpy()) for x, y in zip(a, b, strict=True)]
    assert metric.update(a, b).values.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("space", [(33, 48), (14, 13, 15)])
def test_ssim_equals_scikit_images(space):
    a, b = related(space, count=10)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    pairs = zip(a.double().numpy(), b.double().numpy(), strict=True)
    expected = [structural_similarity(x, y, **settings) for x, y in pairs]
    assert SSIM().update(a, b).values.tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("space", [(20, 31), (6, 7, 5)])
def test_spearman_equals_scipys(space):
    a, b = related(space, count=10)
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert Spearman().update(a, b).values.tolist() == pytest.approx(expected, abs=1e-12)


def test_ms_ssim_equals_a_replica_s():
    rows = torch.linspace(0, 20, 177)
    a = (rows.sin()[:, None] * rows.cos()[None, :176]).square()[None]
    b = (0.8 * a + 0.2 * torch.rand(a.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    found = MSSSIM().update(a, b).values.item()
    assert 0.1 < found < 0.999
    assert found == pytest.approx(naive.ms_ssim(a[0].numpy(), b[0].numpy()), abs=1e-6)


@pytest.mark.parametrize("metric", ALL, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_map_and_itself(metric):
    maps = random_maps(2, (176, 180))
    expected = 0 if metric.better == "lower" else 1
    assert metric.update(maps, maps).values.tolist() == pytest.approx([expected] * 2, abs=1e-9)


@pytest.mark.parametrize("metric", ALL, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_comparison_is_symmetric(metric):
    a, b = related((176, 176), count=1)
    assert metric.update(a, b).values.tolist() == pytest.approx(metric.update(b, a).values.tolist(), abs=1e-12)
    with pytest.raises(ShapeError):
        metric.update(a, b[:, :20])


@pytest.mark.parametrize(("metric", "side"), [(SSIM(), 11), (MSSSIM(), 176)])
def test_maps_that_are_too_small_are_counted(metric, side):
    a, b = related((side - 1, side + 5), count=2)
    found = metric.update(a, b)
    assert found.reasons() == (f"the map is under {side} pixels",) * 2
    assert bool(found.values.isnan().all())
    assert not metric.update(*related((side, side), count=1)).values.isnan().any()


@pytest.mark.parametrize(
    "metric", [Spearman(), Pearson(), TopKOverlap()], ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_constant_map_has_no_correlation(metric):
    maps, constant = random_maps(3, (9, 9)), torch.full((3, 9, 9), 0.3)
    constant[2] = maps[2]
    found = metric.update(maps, constant)
    assert found.reasons() == (CONSTANT_MAP, CONSTANT_MAP, None)
    assert metric.update(constant, maps).reasons() == found.reasons()


def test_an_empty_map_has_no_centre():
    maps = random_maps(1, (9, 9))
    assert CentreShift().update(maps, torch.zeros(1, 9, 9)).reasons() == (EMPTY_MAP,)


def test_constant_maps_are_alike_by_ssim():
    assert SSIM().update(torch.zeros(1, 20, 20), torch.zeros(1, 20, 20)).values.item() == 1
    assert SSIM().update(torch.zeros(1, 20, 20), torch.ones(1, 20, 20)).values.item() == pytest.approx(1e-4 / 1.0001)


def test_the_overlap_of_unrelated_maps_is_chance():
    a, b = (torch.rand(20, 50, 50, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert TopKOverlap(share=0.2).update(a, b).values.mean().item() == pytest.approx(0.2, abs=0.01)
    for share in (0, -0.1, 1.1, math.nan):
        with pytest.raises(OptionError, match="above 0 and at most 1"):
            TopKOverlap(share=share)


@pytest.mark.parametrize("metric", ALL, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_map_that_is_not_finite_is_counted_by_compare(metric):
    a, b = related((176, 176), count=2)
    broken = a.clone()
    broken[0, 3, 3] = torch.nan
    scores = pellucid.compare(broken, b, metrics=[metric])
    (label,) = scores
    assert scores.missing(label) == {NOT_FINITE: 1}
    assert scores[label][1].item() == pytest.approx(metric.update(a, b).values[1].item(), abs=1e-9)


def test_each_map_is_taken_as_it_is_or_scaled_on_its_own():
    a, b = related((20, 20), count=3)
    alone = pellucid.compare(a, b, metrics=["ssim"])["ssim"]
    mixed = torch.stack([a[0], 7 * a[1], a[2] - 0.5])
    found = pellucid.compare(mixed, b, metrics=["ssim"])["ssim"]
    scaled = torch.stack([a[0], a[1] / a[1].max(), (a[2] - 0.5).clamp(min=0) / (a[2] - 0.5).max()])
    expected = pellucid.compare(scaled, b, metrics=["ssim"])["ssim"]
    assert found[0].item() == alone[0].item()
    assert found.flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=1e-6)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_one_map_compared_with_several_is_compared_with_each(metric):
    side = (176, 176)
    first, *others = (random_maps(3, side, seed) for seed in range(3))
    first[2] = 0.5
    compared = metric.against(first)
    for other in others:
        torch.testing.assert_close(compared(other).values, metric.update(first, other).values, equal_nan=True)
        assert compared(other).reasons() == metric.update(first, other).reasons()
    with pytest.raises(ShapeError):
        compared(others[0][:, :-1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.zeros(0, 32, 32), r"maps: at least one map of one pixel was expected, got \(0, 32, 32\)"),
        (torch.zeros(2, 0, 5), r"maps: at least one map of one pixel was expected, got \(2, 0, 5\)"),
        (torch.zeros(2, 32, 32, device="meta"), "maps: a tensor with values was expected"),
        (torch.zeros(2, 32, 32).to_sparse(), r"maps: a dense tensor was expected, got torch.sparse_coo: write maps"),
        (np.zeros((2, 32, 32)), r"got ndarray: write torch.tensor\(maps\)"),
        ([[[0.1]]], r"got list: write torch.tensor\(maps\)"),
        ("gradcam", "got str$"),
    ],
)
def test_maps_without_values_are_refused_in_one_line(given, message):
    with pytest.raises(ShapeError, match=message) as raised:
        pellucid.compare(given, given)
    assert "\n" not in str(raised.value)
