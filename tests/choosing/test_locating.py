"""The split by masks, and hits and mass of pairs, beside those of ``evaluate``."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid import phantom
from pellucid.choosing.donors import Asked
from pellucid.choosing.locating import set_aside
from pellucid.errors import OptionError, ShapeError
from pellucid.metrics.relevance_mass import mass_in


def test_half_of_the_patients_with_a_mask_are_set_aside() -> None:
    masks = torch.zeros(20, 4, 4, dtype=torch.bool)
    masks[:12, 1, 1] = True
    patients = [number // 2 for number in range(20)]  # 0 to 5 have masks
    asked = Asked(torch.zeros(20, 1, 4, 4), torch.zeros(20, dtype=torch.int64), patients)
    choosing, aside = set_aside(asked, masks, 0)
    whose = {patients[number] for number in aside.tolist()}
    assert len(whose) == 3
    assert whose < set(range(6))
    assert not whose & {patients[number] for number in choosing.tolist()}
    assert sorted([*choosing.tolist(), *aside.tolist()]) == list(range(20))
    everyone, none = set_aside(asked, None, 0)
    assert len(everyone) == 20
    assert len(none) == 0


def test_the_mass_in_a_mask() -> None:
    heat = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    masks = torch.tensor([[[True, False], [True, False]], [[True, True], [True, True]]])
    assert mass_in(heat, masks).tolist() == pytest.approx([0.4, 0.0])


def test_hits_and_mass_are_those_of_evaluate_on_images_that_did_not_choose() -> None:
    model = phantom.exclusive_cnn_64()
    drawn = phantom.radiographs(120, 64, seed=31, exclusive=True)
    shown = drawn.labels[:, 0].nonzero()[:, 0][:20]
    images = pellucid.model_info(model).preprocessing.normalise(drawn.images[shown])
    masks = drawn.masks[shown, 0]
    options = {"targets": 1, "candidates": ["saliency", "hirescam"], "layers": ["network.layer1"], "full": False}
    choice = pellucid.choose(model, images, masks=masks, **options)
    assert (choice.images, choice.located) == (10, 10)
    choosing, aside = set_aside(Asked(images, torch.ones(20, dtype=torch.int64), None), masks, 0)
    alone = pellucid.choose(model, images[choosing], **options)
    assert [pair.grade for pair in choice.pairs] == [pair.grade for pair in alone.pairs]
    for pair in choice.pairs:
        explained = pellucid.explain(model, images[aside], pair.method, 1, layers=pair.layers or None)
        scores = pellucid.evaluate(
            model, images[aside], explained, masks=masks[aside], metrics=["pointing_game", "relevance_mass"]
        )
        assert pair.hits == pytest.approx(float(scores["pointing_game"].mean()))
        assert pair.mass == pytest.approx(float(scores["relevance_mass"].mean()), abs=1e-6)
        assert pair.hits_low <= pair.hits <= pair.hits_high
    with pytest.raises(ShapeError, match=r"masks of \(20, 3, 3\)"):
        pellucid.choose(model, images, masks=masks[:, :3, :3], **options)
    with pytest.raises(OptionError, match="5 images are left to choose by"):
        pellucid.choose(model, images[:10], masks=masks[:10], **options)
