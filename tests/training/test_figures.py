"""The figures of a fixed batch, each beside a replica written from its formula."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import structural_similarity
from torch import Tensor

import pellucid
from pellucid import statistics
from pellucid.core.metric import EMPTY_MASK, NO_MASK, NOT_FINITE
from pellucid.metrics import SSIM, Pearson, Spearman
from pellucid.training.drift import NO_EARLIER, NOTHING, OTHER_CLASS, Reference, changed, drift
from pellucid.training.figures import failed, measured
from pellucid.training.localisation import METRICS, located
from tests.networks import TinyCNN, images, seeded


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def reference(maps: Tensor, targets: Tensor | None = None) -> Reference:
    shown = torch.ones(maps.shape[:2], dtype=torch.bool)
    return Reference(maps, shown, torch.zeros(maps.shape[:2], dtype=torch.int64) if targets is None else targets)


def naive_ssim(a: np.ndarray, b: np.ndarray) -> float:
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    return structural_similarity(a, b, **how)


def naive_spearman(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [stats.rankdata(one.ravel()) for one in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize(("similarity", "naive"), [(SSIM(), naive_ssim), (Spearman(), naive_spearman)])
def test_drift_is_one_minus_the_similarity_of_each_map(similarity, naive) -> None:
    before, after = noise(3, 2, 16, 16), noise(3, 2, 16, 16, seed=1)
    found = drift(reference(before), reference(after), similarity).values.reshape(3, 2)
    for image in range(3):
        for column in range(2):
            expected = 1 - naive(before[image, column].double().numpy(), after[image, column].double().numpy())
            assert float(found[image, column]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("similarity", [SSIM(), Spearman(), Pearson()])
def test_equal_maps_have_not_drifted_and_opposite_ones_by_up_to_two(similarity) -> None:
    maps = noise(1, 1, 16, 16)
    assert float(drift(reference(maps), reference(maps), similarity).values) == pytest.approx(0, abs=1e-6)
    opposite = float(drift(reference(maps), reference(1 - maps), similarity).values)
    assert 1.5 < opposite <= 2 + 1e-6


@pytest.mark.parametrize("similarity", [SSIM(), Spearman()])
@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_a_map_that_shows_nothing_has_no_drift(similarity, side: str) -> None:
    """Two empty maps are equal by SSIM: a network whose maps died would seem to be at rest."""
    maps = noise(2, 1, 16, 16)
    empty = replace(reference(maps * torch.tensor([0.0, 1]).reshape(2, 1, 1, 1)), shown=torch.tensor([[False], [True]]))
    pairs = {"before": (empty, reference(maps)), "after": (reference(maps), empty), "both": (empty, empty)}
    found = drift(*pairs[side], similarity)
    assert found.values.isnan().tolist() == [True, False]
    assert found.reasons() == (NOTHING, None)


def test_a_map_of_another_class_has_no_drift_and_is_counted() -> None:
    maps = noise(3, 1, 16, 16)
    before, after = reference(maps, torch.tensor([[0], [1], [2]])), reference(maps, torch.tensor([[0], [2], [1]]))
    assert drift(before, after, SSIM()).reasons() == (None, OTHER_CLASS, OTHER_CLASS)
    assert changed(before, after) == 2
    assert changed(None, after) == 0


def test_without_an_earlier_map_there_is_no_drift() -> None:
    assert drift(None, reference(noise(2, 1, 16, 16)), SSIM()).reasons() == (NO_EARLIER, NO_EARLIER)


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(pellucid.errors.ShapeError, match=r"maps \(1, 1, 16, 16\) and \(2, 1, 16, 16\) were to be"):
        drift(reference(noise(1, 1, 16, 16)), reference(noise(2, 1, 16, 16)), SSIM())


def explained(count: int = 24) -> pellucid.Explanation:
    return pellucid.explain(seeded(TinyCNN), images(count), "saliency", [0] * count, head="softmax")


def squares(count: int) -> Tensor:
    found = torch.zeros(count, 32, 32, dtype=torch.bool)
    for number in range(count):
        found[number, number % 16 : number % 16 + 16, : 16 + number % 8] = True
    return found


def test_hit_rate_and_relevance_mass_are_those_of_naive_loops() -> None:
    explanation, masks = explained(), squares(24)
    found = located(explanation, masks)
    for number in range(24):
        heat, mask = explanation.heatmaps[number, 0].double().numpy(), masks[number].numpy()
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        assert float(found["hit_rate"].values[number]) == float(mask[row, column])
        assert float(found["relevance_mass"].values[number]) == pytest.approx(heat[mask].sum() / heat.sum(), abs=1e-9)
    assert 0 < float(found["hit_rate"].values.mean()) < 1


def test_the_intervals_are_clopper_pearson_and_the_mean_s() -> None:
    explanation, masks = explained(), squares(24)
    values = {**located(explanation, masks), "drift": drift(None, Reference.of(explanation, "heatmaps"), SSIM())}
    figures = measured(3, explanation, values, {"drift": SSIM(), **METRICS}, None, 0)
    hits = int(values["hit_rate"].values.sum())
    assert figures.hit_rate.estimate == pytest.approx(hits / 24)
    assert figures.hit_rate.low == pytest.approx(stats.beta.ppf(0.025, hits, 25 - hits))
    assert figures.hit_rate.high == pytest.approx(stats.beta.ppf(0.975, hits + 1, 24 - hits))
    expected = statistics.mean(values["relevance_mass"].values.numpy(), generator=np.random.default_rng(0))
    assert figures.relevance_mass == expected
    assert figures.relevance_mass.low < figures.relevance_mass.estimate < figures.relevance_mass.high
    assert (figures.drift.count, figures.drift.excluded, figures.drift.withheld) == (0, 24, "no cases")


def test_patients_are_the_units_of_the_intervals() -> None:
    explanation, masks = explained(), squares(24)
    values = {**located(explanation, masks), "drift": drift(None, Reference.of(explanation, "heatmaps"), SSIM())}
    each = [measured(0, explanation, values, {"drift": SSIM(), **METRICS}, whose, 0) for whose in (None, [0, 1, 2] * 8)]
    assert [one.hit_rate.patients for one in each] == [24, 3]
    assert each[1].hit_rate.width > each[0].hit_rate.width
    assert each[1].relevance_mass.withheld == "fewer than 20 patients"


def test_values_that_are_missing_say_why() -> None:
    explanation = explained(3)
    lost = replace(
        explanation, attributions=explanation.attributions * torch.tensor([1, 1, math.nan])[:, None, None, None]
    )
    mask = torch.zeros(32, 32, dtype=torch.bool)
    found = located(lost, [None, mask, mask.logical_not()])
    assert found["hit_rate"].reasons() == (NO_MASK, EMPTY_MASK, NOT_FINITE)
    assert found["relevance_mass"].reasons() == (NO_MASK, EMPTY_MASK, NOT_FINITE)
    assert located(explanation, None) == {}


def test_an_empty_map_is_a_miss_and_has_no_mass() -> None:
    explanation = explained(2)
    flat = replace(explanation, heatmaps=torch.zeros_like(explanation.heatmaps))
    found = located(flat, torch.ones(2, 32, 32, dtype=torch.bool))
    assert found["hit_rate"].values.tolist() == [0, 0]
    assert found["relevance_mass"].values.tolist() == [0, 0]


def test_all_numbers_are_there_to_be_logged() -> None:
    explanation, masks = explained(), squares(24)
    values = {"drift": drift(None, Reference.of(explanation, "heatmaps"), SSIM()), **located(explanation, masks)}
    found = measured(0, explanation, values, {"drift": SSIM(), **METRICS}, None, 5).values()
    names = [f"{name}{end}" for name in ("drift", "hit_rate", "relevance_mass") for end in ("", "_low", "_high")]
    assert sorted(found) == sorted([*names, "drift_without_value", "degenerate", "changed"])
    assert (found["drift_without_value"], found["degenerate"], found["changed"]) == (24, 0, 5)
    assert math.isnan(found["drift"])
    none = failed(4, with_masks=True)
    assert (none.epoch, none.explanation, none.hit_rate.withheld) == (4, None, "the batch could not be explained")
    assert failed(4, with_masks=False).hit_rate is None
