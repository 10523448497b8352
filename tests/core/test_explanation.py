"""Explanations: one image or map, other devices, other processes."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch

import pellucid
from pellucid.core.explanation import Explanation
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.smoothgrad import SmoothGrad
from tests.core.explanations import ARRAYS, assert_equal, two_images
from tests.networks import TinyCNN, TinyViT, images, seeded

LAYERS = ["features.0", "features.2"]


@pytest.fixture
def explanation() -> Explanation:
    return two_images()


def test_a_text_of_one_line(explanation: Explanation) -> None:
    assert repr(explanation) == "Explanation(gradcam at features.0, features.2: 2 images × 2 maps, 32×32)"
    assert repr(explanation.one(0, 0)) == "Explanation(gradcam at features.0, features.2: 1 image × 1 map, 32×32)"
    without = pellucid.explain(seeded(TinyCNN, 3), images(1, 3, (16, 8, 12)), "saliency", 1)
    assert repr(without) == "Explanation(saliency: 1 image × 1 map, 16×8×12)"


def test_one_map_keeps_its_axes(explanation: Explanation) -> None:
    one = explanation.one(0, 1)
    assert one.heatmaps.shape == (1, 1, 32, 32)
    assert torch.equal(one.heatmaps[0, 0], explanation.heatmaps[0, 1])
    assert torch.equal(one.attributions[0, 0], explanation.attributions[0, 1])
    assert torch.equal(one.logits[0], explanation.logits[0])
    assert one.targets.tolist() == [[3]]
    assert one.why_degenerate == ((None,),)
    assert torch.equal(one.by_layer["features.0"].heatmaps[0, 0], explanation.by_layer["features.0"].heatmaps[0, 1])
    assert explanation.one(1, 0).why_degenerate == (("not finite",),)
    assert len(one) == 1
    assert len(explanation) == 2


def test_an_explanation_is_frozen(explanation: Explanation) -> None:
    with pytest.raises(FrozenInstanceError):
        explanation.method = "other"


@pytest.fixture
def batch() -> Explanation:
    return pellucid.explain(seeded(TinyCNN), images(4), targets="all", layers=LAYERS)


def test_another_device(batch: Explanation) -> None:
    moved = batch.to("meta")
    held = [moved, *moved.by_layer.values()]
    assert {getattr(one, name).device.type for one in held for name in ARRAYS} == {"meta"}
    assert batch.heatmaps.device.type == "cpu"
    assert_equal(batch.to(torch.device("cpu")), batch)
    gaps = pellucid.explain(seeded(TinyCNN), images(1), "integrated_gradients").to("meta").checks
    assert [values.device.type for values in gaps.values()] == ["meta"]


def test_what_is_pickled_is_small_and_whole(batch: Explanation) -> None:
    assert_equal(pickle.loads(pickle.dumps(batch)), batch)
    many = pellucid.explain(seeded(TinyCNN), images(8), layers=["features.0"])
    one = pickle.dumps(many[3])
    assert_equal(pickle.loads(one), many.one(3))
    assert len(one) < len(pickle.dumps(many)) / 3


def _explained(explainer: pellucid.Explainer) -> Explanation:
    return explainer(images(2), targets="all")


def test_explainers_methods_and_explanations_go_to_another_process() -> None:
    explainers = [
        pellucid.Explainer(seeded(TinyCNN), SmoothGrad(GradCAM(), samples=2), layers=["features.2"]),
        pellucid.Explainer(seeded(TinyViT), "rollout", head="sigmoid", runtime=pellucid.Runtime(batch_size=1)),
    ]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.map_async(_explained, explainers).get(timeout=300)  # a hang is an error
    for explainer, one in zip(explainers, found, strict=True):
        wanted = _explained(explainer)
        assert one.heatmaps.sum() > 0
        torch.testing.assert_close(one.heatmaps, wanted.heatmaps)
        assert one.provenance == wanted.provenance


@pytest.mark.parametrize("name", pellucid.available_methods())
def test_every_method_is_pickled(name: str) -> None:
    from pellucid.core import catalogue

    method = catalogue.find(name)()
    again = pickle.loads(pickle.dumps(method))
    assert (type(again), again) == (type(method), method)
    assert vars(again) == vars(method)  # what a wrapper takes from its inner method, too
