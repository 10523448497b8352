"""Near-duplicates are found, and different images are not."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pellucid import phantom
from pellucid.core.likeness import alike
from pellucid.core.replacement import References


def test_copies_are_alike_and_other_images_are_not() -> None:
    images = phantom.radiographs(40, 64, seed=3).images
    generator = torch.Generator().manual_seed(0)
    exported = (images * 0.8 + 0.1 + 0.01 * torch.randn(images.shape, generator=generator)).clamp(0, 1)
    smaller = F.interpolate(F.interpolate(images, scale_factor=0.5, mode="area"), size=(64, 64), mode="bilinear")
    everyone = torch.eye(40, dtype=torch.bool)
    for others in (images, exported, smaller):
        assert torch.equal(alike(images, others), everyone)


def test_even_images_are_alike_if_they_are_equal() -> None:
    black, grey = torch.zeros(1, 1, 8, 8, 8), torch.full((1, 1, 8, 8, 8), 0.5)
    assert alike(torch.cat([black, grey]), torch.cat([black, grey])).tolist() == [[True, False], [False, True]]


def test_a_near_duplicate_is_not_drawn() -> None:
    images = phantom.radiographs(6, 64, seed=4).images
    known = References(torch.cat([images * 0.9, images[:1] * 0.7]), draws=7)
    chosen, missing = known.drawn(images, torch.zeros(6, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert not missing.any()
    assert not {0, 6} & set(chosen[0].tolist())
    assert all(number not in row for number, row in enumerate(chosen.tolist()))
