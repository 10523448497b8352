"""Metrics of localisation and complexity: beside naive replicas, on phantoms, and where there is nothing to measure."""

from __future__ import annotations

import math

import pytest
import torch

import pellucid
from pellucid.core.metric import EMPTY_MAP, EMPTY_MASK, NO_MASK
from pellucid.errors import OptionError, ShapeError
from pellucid.metrics import (
    AUPRC,
    FROC,
    EffectiveComplexity,
    Entropy,
    IoU,
    LesionCoverage,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    SaliencyPrecision,
    Sparseness,
)
from pellucid.metrics.froc import froc_curve
from tests.metrics import naive
from tests.metrics.judging import Alone, random_maps, random_masks

SPACES = [(9, 12), (5, 6, 4)]
WITH_MASK = [
    (IoU(), naive.iou, {}),
    (IoU(threshold=0.25), naive.iou, {"threshold": 0.25}),
    (LesionCoverage(), naive.coverage, {}),
    (LesionCoverage(threshold=0.75), naive.coverage, {"threshold": 0.75}),
    (SaliencyPrecision(), naive.precision, {}),
    (RelevanceMass(), naive.mass, {}),
    (AUPRC(), naive.average_precision, {}),
    (FROC(), naive.froc, {}),
    (
        FROC(threshold=0.75, false_marks=1, tolerance=1.5),
        naive.froc,
        {"threshold": 0.75, "false_marks": 1, "tolerance": 1.5},
    ),
]
LOCALISATION = [PointingGame(), *(metric for metric, _, _ in WITH_MASK), RelevanceRank()]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("metric", "replica", "options"), WITH_MASK, ids=lambda one: getattr(one, "__name__", str(one))[:40]
)
def test_values_equal_a_replica_s(metric, replica, options, space):
    maps, masks = random_maps(12, space), random_masks(12, space)
    if isinstance(metric, FROC):  # few marks and lesions, some of them together
        maps = maps * random_masks(12, space, seed=5, share=0.2)
        masks = (maps > 0.4) & random_masks(12, space, seed=6, share=0.5) | random_masks(12, space, share=0.01)
    cases = Alone(maps, masks)
    expected = [replica(h.numpy(), m.numpy(), **options) for h, m in zip(cases.maps, cases.masks, strict=True)]
    assert len(set(expected)) > 3
    assert metric.update(cases).values.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("space", SPACES)
def test_relevance_rank_is_the_mean_over_orders_of_equal_pixels(space):
    cases = Alone(random_maps(4, space, levels=3), random_masks(4, space))
    expected = [naive.rank(h.numpy(), m.numpy()) for h, m in zip(cases.maps, cases.masks, strict=True)]
    assert RelevanceRank().update(cases).values.tolist() == pytest.approx(expected, abs=0.01)  # 4,000 orders


def test_relevance_rank_without_ties_is_a_count():
    heat = torch.randperm(80, generator=torch.Generator().manual_seed(0)).reshape(1, 8, 10) / 80
    mask = random_masks(1, (8, 10))
    top = heat.flatten().argsort(descending=True)[: int(mask.sum())]
    assert RelevanceRank().update(Alone(heat, mask)).values.item() == pytest.approx(mask.flatten()[top].double().mean())


@pytest.mark.parametrize("metric", LOCALISATION, ids=lambda one: getattr(one, "__name__", str(one))[:40])
@pytest.mark.parametrize("drawn", ["radiographs", "volumes"])
def test_the_true_region_beats_its_complement_on_phantoms(metric, drawn):
    phantoms = getattr(pellucid.phantom, drawn)(6, size=32, seed=3)
    masks = phantoms.masks.flatten(0, 1)
    masks = masks[masks.flatten(1).any(1)]
    assert len(masks) > 2
    right = metric.update(Alone(masks.float(), masks)).values
    wrong = metric.update(Alone((~masks).float(), masks)).values
    assert bool((right == 1).all())
    assert bool((wrong < right).all())


@pytest.mark.parametrize("metric", LOCALISATION, ids=lambda one: getattr(one, "__name__", str(one))[:40])
def test_cases_without_a_mask_or_with_an_empty_one_are_counted(metric):
    masks = random_masks(3, (12, 12))
    masks[1] = False
    found = metric.update(Alone(random_maps(3, (12, 12)), masks, without=(2,)))
    assert found.reasons() == (None, EMPTY_MASK, NO_MASK)
    assert [value != value for value in found.values.tolist()] == [False, True, True]


@pytest.mark.parametrize(
    ("metric", "empty", "constant"),
    [
        (IoU(), 0, 0.25),
        (LesionCoverage(), 0, 1),
        (SaliencyPrecision(), 0, 0.25),
        (RelevanceMass(), 0, 0.25),
        (RelevanceRank(), 0.25, 0.25),
        (AUPRC(), 0.25, 0.25),
        (FROC(), 0, 0),
        (PointingGame(), 0, 0),
        (Sparseness(), 0, 0),
        (EffectiveComplexity(), 0, 64),
    ],
    ids=lambda one: getattr(one, "__name__", str(one))[:40],
)
def test_empty_and_constant_maps(metric, empty, constant):
    mask = torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[:, :, :2] = True  # a quarter, without the middle
    heat = torch.stack([torch.zeros(8, 8), torch.full((8, 8), 0.7)])
    assert metric.update(Alone(heat, mask)).values.tolist() == pytest.approx([empty, constant])


def test_an_empty_map_has_no_entropy():
    found = Entropy().update(Alone(torch.stack([torch.zeros(4, 4), torch.ones(4, 4)]), torch.zeros(2, 4, 4)))
    assert found.reasons() == (EMPTY_MAP, None)
    assert found.values[1].item() == pytest.approx(math.log(16))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("metric", "replica"),
    [
        (Sparseness(), naive.gini),
        (Entropy(), naive.entropy),
        (EffectiveComplexity(), naive.effective_complexity),
        (EffectiveComplexity(epsilon=0.5), lambda heat: naive.effective_complexity(heat, 0.5)),
    ],
)
def test_complexities_equal_a_replica_s(metric, replica, space):
    maps = random_maps(8, space)
    expected = [replica(heat.numpy()) for heat in maps]
    assert metric.update(Alone(maps, maps > 2)).values.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_single_pixel_is_the_sparsest_map():
    heat = torch.zeros(1, 5, 5)
    heat[0, 2, 3] = 0.4
    assert Sparseness().update(Alone(heat, heat > 1)).values.item() == pytest.approx(24 / 25)
    assert Entropy().update(Alone(heat, heat > 1)).values.item() == 0


@pytest.mark.parametrize("metric", [Sparseness(), Entropy(), EffectiveComplexity()])
def test_neither_a_simple_nor_a_rich_map_is_better(metric):
    assert metric.better is None
    assert not metric.needs_mask


def test_the_froc_curve_ranks_marks_within_the_image():
    heat, mask = torch.zeros(20, 20), torch.zeros(20, 20, dtype=torch.bool)
    for row, height in ((1, 1.0), (5, 0.9), (9, 0.8), (13, 0.7)):
        heat[row, 3] = height
    heat[17, 3] = 0.4  # below the threshold: no mark
    mask[5, 2:5] = mask[13, 3] = mask[17, 3] = True
    false, found = froc_curve(heat, mask)
    assert false.tolist() == [0, 1, 1, 2, 2]
    assert found.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3])
    assert FROC().update(Alone(heat[None], mask[None])).values.item() == pytest.approx((0 + 1 / 3 + 3 * 2 / 3) / 5)


def test_marks_of_equal_height_count_together():
    heat, mask = torch.zeros(9, 9), torch.zeros(9, 9, dtype=torch.bool)
    heat[1, 1] = heat[7, 7] = 1.0
    mask[7, 7] = True
    assert [one.tolist() for one in froc_curve(heat, mask)] == [[0, 1], [0, 1]]


def test_a_second_mark_in_a_lesion_is_neither_false_nor_another_lesion():
    heat, mask = torch.zeros(9, 9), torch.zeros(9, 9, dtype=torch.bool)
    heat[1, 1], heat[1, 5] = 1.0, 0.9
    mask[1, 1:6] = True
    assert [one.tolist() for one in froc_curve(heat, mask)] == [[0, 0, 0], [0, 1, 1]]


def test_a_curve_without_a_lesion():
    false, found = froc_curve(torch.ones(4, 4), torch.zeros(4, 4, dtype=torch.bool))
    assert false.tolist() == [0, 1]
    assert bool(found.isnan().all())
    with pytest.raises(ShapeError):
        froc_curve(torch.ones(4, 4), torch.zeros(4, 5, dtype=torch.bool))


@pytest.mark.parametrize("kind", [IoU, LesionCoverage, SaliencyPrecision, FROC])
@pytest.mark.parametrize("threshold", [0, -1, 1.5, math.nan])
def test_thresholds_that_no_heatmap_reaches_are_refused(kind, threshold):
    with pytest.raises(OptionError, match="above 0 and at most 1"):
        kind(threshold=threshold)


@pytest.mark.parametrize(
    "made", [lambda: FROC(false_marks=-1), lambda: FROC(tolerance=-1), lambda: EffectiveComplexity(-1)]
)
def test_options_below_0_are_refused(made):
    with pytest.raises(OptionError, match="at least 0"):
        made()


@pytest.mark.parametrize(
    "metric",
    [*LOCALISATION, Sparseness(), Entropy(), EffectiveComplexity()],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_map_that_is_not_finite_breaks_nothing(metric):
    maps = random_maps(2, (12, 12))
    maps[0, 3, 3] = torch.nan
    masks = random_masks(2, (12, 12))
    alone = metric.update(Alone(maps[1:], masks[1:])).values
    assert metric.update(Alone(maps, masks)).values[1:].tolist() == pytest.approx(alone.tolist())
