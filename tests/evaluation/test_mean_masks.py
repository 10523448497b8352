"""The mean mask of other patients, and how wide its blur is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.evaluation.scoring.frame import packed
from pellucid.evaluation.scoring.mean_masks import MeanMasks
from pellucid.priors.mean_mask import mean_mask_heatmaps

SPACE = (20, 30)


def masks_of(count, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        down, across = np.clip(rng.normal((9, 16), spread), 2, (16, 26)).astype(int)
        mask = torch.zeros(SPACE, dtype=torch.bool)
        mask[down - 2 : down + 2, across - 1 : across + 3] = True
        found.append(mask)
    return found


def naive(masks, patients):
    """The mean, blurred by Scott's rule: with loops over masks and axes."""
    deviations = []
    for axis, side in enumerate(SPACE):
        centres = [float(np.argwhere(mask.numpy())[:, axis].mean()) / side for mask in masks]
        middle = sum(centres) / len(centres)
        deviations.append((sum((one - middle) ** 2 for one in centres) / (len(centres) - 1)) ** 0.5)
    sigma = sum(deviations) / 2 * patients ** (-1 / 6)
    mean = torch.stack(masks).float().mean(0)
    return mean_mask_heatmaps(mean[None], min(max(sigma, 0.02), 0.25))[0]


def test_a_map_is_made_of_the_other_patients():
    masks, patients = masks_of(24), [f"P{k // 2}" for k in range(24)]
    found = MeanMasks([(p, packed(m)) for p, m in zip(patients, masks, strict=True)], SPACE)
    for patient in ("P0", "P7"):
        others = [mask for mask, own in zip(masks, patients, strict=True) if own != patient]
        torch.testing.assert_close(found.of(patient), naive(others, 11))


def test_masks_of_another_split_are_used_alone():
    own, others = masks_of(5), masks_of(20, seed=1)
    given = [(f"P{k}", packed(m)) for k, m in enumerate(own)]
    found = MeanMasks(given, SPACE, [(f"Q{k}", packed(m)) for k, m in enumerate(others)])
    torch.testing.assert_close(found.of("P0"), naive(others, 20))
    few = MeanMasks(given, SPACE, [(f"Q{k}", packed(m)) for k, m in enumerate(others[:19])])
    torch.testing.assert_close(few.of("P0"), naive(own[1:], 4))


@pytest.mark.parametrize(("spread", "sigma"), [(0.0, 0.02), (100.0, 0.25)])
def test_the_blur_has_bounds(spread, sigma):
    masks = masks_of(8, spread=spread)
    found = MeanMasks([(f"P{k}", packed(m)) for k, m in enumerate(masks)], SPACE).of("P0")
    expected = mean_mask_heatmaps(torch.stack(masks[1:]).float().mean(0)[None], sigma)[0]
    torch.testing.assert_close(found, expected)


def test_one_other_mask_is_blurred_most():
    masks = masks_of(2)
    found = MeanMasks([("a", packed(masks[0])), ("b", packed(masks[1]))], SPACE)
    torch.testing.assert_close(found.of("a"), mean_mask_heatmaps(masks[1].float()[None], 0.25)[0])
    assert MeanMasks([("a", packed(masks[0]))], SPACE).of("a") is None
