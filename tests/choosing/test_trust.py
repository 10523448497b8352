"""What tells whether images with replaced pixels are of their kind."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid import phantom
from pellucid.choosing.trust import nearest, same


def test_distances_are_to_the_nearest_other_image() -> None:
    """By a loop over plain numbers; a feature that never differs counts for nothing."""
    known = torch.tensor([[0.0, 7.0], [1.0, 7.0], [4.0, 7.0], [4.1, 7.0]])
    of_one = torch.eye(4, dtype=torch.bool)
    spread = known[:, 0].std().item()
    expected = [
        min(abs(one - other) for other in known[:, 0].tolist() if one != other) / spread for one in known[:, 0].tolist()
    ]
    assert nearest(known, known, of_one).tolist() == pytest.approx(expected, rel=1e-4)
    of_one[2, 3] = of_one[3, 2] = True
    assert nearest(known, known, of_one)[2].item() == pytest.approx(3 / spread, rel=1e-4)


def test_images_of_one_patient_and_near_duplicates_are_not_others() -> None:
    images = phantom.radiographs(4, 64, seed=3).images
    found = same(torch.cat([images, images[:1] * 0.8]), ["a", "a", "b", "c", "d"])
    expected = torch.eye(5, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = expected[0, 4] = expected[4, 0] = True
    assert torch.equal(found, expected)


def test_an_image_with_two_findings_may_be_there_twice() -> None:
    """Its copy is no other image: else nothing that replaces would leave images of their kind."""
    model = phantom.exclusive_cnn_64()
    drawn = phantom.radiographs(48, 64, seed=777_000, exclusive=True)
    shown = drawn.labels.any(1)
    images = pellucid.model_info(model).preprocessing.normalise(drawn.images[shown])[:16]
    classes = drawn.labels[shown].int().argmax(1)[:16] + 1
    twice = pellucid.choose(
        model, torch.cat([images, images]), targets=torch.cat([classes, classes]), candidates=["saliency"], full=False
    )
    once = pellucid.choose(model, images, targets=classes, candidates=["saliency"], full=False)
    for one, other in zip(once.replacements, twice.replacements, strict=False):
        assert other.distance < 2 * one.distance


def test_images_of_one_patient_alone_say_nothing() -> None:
    model = phantom.exclusive_cnn_64()
    images = pellucid.model_info(model).preprocessing.normalise(phantom.radiographs(8, 64, seed=1).images)
    choice = pellucid.choose(model, images, patients=["a"] * 8, candidates=["saliency"], full=False)
    assert choice.chosen is None
    assert any("of one patient" in one.refused for one in choice.replacements)
