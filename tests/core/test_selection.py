"""Explanations: one image or several of a batch, batches as one, other devices, and other processes."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.explanation import Explanation
from pellucid.errors import ImageIndexError, OptionError, ShapeError
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.smoothgrad import SmoothGrad
from tests.core.test_explanation import ARRAYS, assert_equal
from tests.networks import TinyCNN, TinyViT, images, seeded

LAYERS = ["features.0", "features.2"]


@pytest.fixture
def batch() -> Explanation:
    return pellucid.explain(seeded(TinyCNN), images(4), targets="all", layers=LAYERS)


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (torch.tensor(1), [1]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(9, None), []),
        ([2, 0, -1, 2], [2, 0, 3, 2]),
        ((1,), [1]),
        ([], []),
        (torch.tensor([3, 1]), [3, 1]),
        (np.array([0, 3]), [0, 3]),
        ([True, False, False, True], [0, 3]),
        (torch.tensor([False, True, True, False]), [1, 2]),
        (np.array([False] * 4), []),
    ],
    ids=str,
)
def test_images_are_selected(batch: Explanation, selection: object, numbers: list[int]) -> None:
    chosen = batch[selection]
    assert len(chosen) == len(numbers)
    for mine, whole in [(chosen, batch), *((chosen.by_layer[layer], batch.by_layer[layer]) for layer in LAYERS)]:
        for name in ARRAYS:
            values = getattr(whole, name)
            assert getattr(mine, name).equal(values[torch.tensor(numbers, dtype=torch.long)])
        assert mine.why_degenerate == tuple(whole.why_degenerate[number] for number in numbers)
    assert (chosen.method, chosen.layers, chosen.provenance) == (batch.method, batch.layers, batch.provenance)


def test_figures_are_selected_too() -> None:
    whole = pellucid.explain(seeded(TinyCNN), images(3), "integrated_gradients")
    (name,) = whole.checks
    assert whole[[2, 1]].checks[name].equal(whole.checks[name][[2, 1]])
    assert whole.one(1).checks[name].equal(whole.checks[name][1:2])


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (4, "image 4 was asked for; there are 4 images, from 0"),
        (-5, "image -5 was asked for; there are 4 images, from 0"),
        ([0, 7], "image 7 was asked for; there are 4 images, from 0"),
        ([True, False], "a mask of 2 flags was given; there are 4 images"),
        (torch.tensor([1.5]), "image 1.5 was asked for; give a number, a slice, a list of numbers or a mask"),
        (True, "image True was asked for; give a number"),
        ("0", "image '0' was asked for; give a number"),
        (None, "image None was asked for; give a number"),
    ],
)
def test_images_that_are_not_there(batch: Explanation, selection: object, text: str) -> None:
    with pytest.raises(ImageIndexError) as caught:
        batch[selection]
    assert str(caught.value).startswith(text)
    assert isinstance(caught.value, IndexError)


def test_iteration_gives_one_image_at_a_time(batch: Explanation) -> None:
    each = list(batch)
    assert len(each) == len(batch) == 4
    for number, one in enumerate(each):
        assert_equal(one, batch.one(number))
        assert one.heatmaps.shape == (1, *batch.heatmaps.shape[1:])
    assert_equal(Explanation.cat(each), batch)


def test_a_column_of_an_image(batch: Explanation) -> None:
    assert batch.one(1, -1).heatmaps.equal(batch.heatmaps[1:2, -1:])
    assert batch.one(1, -1).by_layer[LAYERS[0]].targets.equal(batch.targets[1:2, -1:])
    assert batch.one(1, 0).logits.equal(batch.logits[1:2])


def test_another_device(batch: Explanation) -> None:
    moved = batch.to("meta")
    held = [moved, *moved.by_layer.values()]
    assert {getattr(one, name).device.type for one in held for name in ARRAYS} == {"meta"}
    assert batch.heatmaps.device.type == "cpu"
    assert_equal(batch.to(torch.device("cpu")), batch)
    gaps = pellucid.explain(seeded(TinyCNN), images(1), "integrated_gradients").to("meta").checks
    assert [values.device.type for values in gaps.values()] == ["meta"]


def test_batches_become_one(batch: Explanation) -> None:
    model = seeded(TinyCNN)
    explainer = pellucid.Explainer(model, layers=LAYERS)
    parts = [explainer(images(4)[rows], targets="all") for rows in (slice(0, 1), slice(1, 4))]
    found = Explanation.cat(parts)
    for name in ARRAYS:
        torch.testing.assert_close(getattr(found, name), getattr(batch, name))
    assert found.provenance == batch.provenance
    other = replace(batch, provenance={**batch.provenance, "fuse": "mean", "runtime": {"seed": 1}})
    kept = Explanation.cat([batch, other]).provenance
    assert "runtime" not in kept
    assert kept["versions"] == batch.provenance["versions"]


def test_explanations_that_do_not_fit(batch: Explanation) -> None:
    model = seeded(TinyCNN)
    tail = "; Explanation.cat takes batches of one Explainer"
    with pytest.raises(OptionError, match="got no explanations; give at least one"):
        Explanation.cat([])
    for other, text in (
        (pellucid.explain(model, images(1), "hirescam", "all", layers=LAYERS), "method were given, gradcam and hire"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS[:1]), "different layers were given"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS, head="sigmoid"), "softmax and sigmoid"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS, fuse="max"), "fuse were given, mean and max"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS, classes=list("abcd")), "different classes"),
    ):
        with pytest.raises(OptionError, match=text) as caught:
            Explanation.cat([batch, other])
        assert str(caught.value).endswith(tail)
    options = [pellucid.explain(model, images(1), SmoothGrad(samples=count)) for count in (1, 2)]
    with pytest.raises(OptionError, match="different options"):
        Explanation.cat(options)
    with pytest.raises(ShapeError, match=r"different shapes of heatmaps were given, \(4, 32, 32\) and \(1, 32, 32\)"):
        Explanation.cat([batch, pellucid.explain(model, images(1), layers=LAYERS)])
    with pytest.raises(ShapeError, match="different devices were given, cpu and meta"):
        Explanation.cat([batch, batch.to("meta")])


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
