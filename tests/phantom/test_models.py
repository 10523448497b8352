"""The included networks detect the drawn findings, declare their properties, and can be explained."""

import pickle
from importlib import resources

import pytest
import torch
from torch.nn import functional as F

import pellucid
from pellucid import phantom
from pellucid.errors import OptionError
from pellucid.phantom import CLASSES, FINDINGS, radiographs, vit
from pellucid.phantom.models import ARCHITECTURES, EXCLUSIVE, NETWORKS, SIDE, UNGUIDED, untrained
from pellucid.phantom.training import RECIPES, TRAINING_SEED, measure, normalised

MODELS = {name: architecture.trained for name, architecture in NETWORKS.items()}
# Measured on 1000 radiographs; the margin allows for the smaller number here.
FLOORS = (0.96, 0.9)
GUIDED = {name: architecture.trained for name, architecture in ARCHITECTURES.items()}
HITS = {"cnn": ("gradcam", 0.9), "swin": ("gradcam", 0.9), "vit": ("attnlrp", 0.82)}
"""The best method of each that needs one gradient, selected on other images by ``benchmarks.phantoms``."""
FRESH_SEED = 77


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def fresh(model):
    return radiographs(100, side_of(model), seed=FRESH_SEED, exclusive=model.head == "softmax")


def side_of(model):
    return model.preprocessing["size"][0]


def name_of(model):
    return pellucid.model_info(model).spec.removeprefix("pellucid.phantom:")


def test_it_detects_the_findings(model, fresh):
    figures = measure(model, fresh)
    area, accuracy = FLOORS
    assert min(figures.auc) >= area
    assert min(figures.accuracy) >= accuracy


def test_its_model_info(model):
    info = pellucid.model_info(model)
    exclusive = name_of(model) in EXCLUSIVE
    expected = (CLASSES, "softmax") if exclusive else (FINDINGS, "sigmoid")
    assert (info.classes, info.head, info.weights) == (*expected, "default")
    side = 64 if name_of(model).endswith("_64") else SIDE
    assert (info.preprocessing.resize, info.preprocessing.channels) == ((side, side), 1)
    assert info.spec == info.preprocessing.source
    assert not model.training


def test_its_preprocessing_is_that_of_the_training(model, fresh):
    images = fresh.images[:2]
    assert torch.equal(pellucid.model_info(model).preprocessing.normalise(images), normalised(images))


def test_it_can_be_explained(model, fresh):
    explanation = pellucid.explain(model, normalised(fresh.images[:3]), targets="cavity")
    assert explanation.head == model.head
    side = side_of(model)
    assert explanation.heatmaps.shape == (3, 1, side, side)
    assert explanation.attributions.shape == (3, 1, side // 8, side // 8)
    assert explanation.label(0) == "cavity"


def test_attention_can_be_read():
    images = normalised(radiographs(2).images)
    assert pellucid.explain(vit(), images, method="rollout").heatmaps.shape == (2, 1, SIDE, SIDE)


@pytest.mark.parametrize("name", GUIDED)
def test_the_peak_of_its_best_method_hits_the_detected_findings(name):
    model, fresh = MODELS[name](), radiographs(100, seed=FRESH_SEED)
    method, floor = HITS[name]
    images = normalised(fresh.images)
    with torch.no_grad():
        found = (model(images) > 0) & fresh.labels
    masks = F.max_pool2d(fresh.masks.float(), 9, 1, 4).flatten(2)
    hits = []
    for finding in range(len(FINDINGS)):
        chosen = found[:, finding]
        heatmaps = pellucid.explain(model, images[chosen], method=method, targets=finding).heatmaps
        hits.append(masks[chosen, finding].gather(1, heatmaps.flatten(1).argmax(1, keepdim=True))[:, 0])
    assert torch.cat(hits).mean() >= floor


def test_training_uses_other_seeds_than_users_do():
    assert TRAINING_SEED > 2**32
    drawn = (radiographs(2, seed=seed).images for seed in (0, TRAINING_SEED))
    assert not torch.equal(*drawn)


def test_the_model_card_states_sizes_steps_and_commands():
    card = (resources.files("pellucid.phantom") / "MODEL_CARD.md").read_text(encoding="utf-8")
    for name in MODELS:
        count = sum(parameter.numel() for parameter in untrained(name).parameters())
        assert f"{count:,}".replace(",", " ") in card
        assert f"{RECIPES[name].steps} steps for `{name}`" in card
        assert f"python -m pellucid.phantom.training {name} --output DIR" in card


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_are_small_and_load_without_pickle(name, monkeypatch):
    weights = resources.files("pellucid.phantom") / "weights" / f"{name}.safetensors"
    assert len(weights.read_bytes()) <= 1.2e6
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(torch, "load", None)
    MODELS[name]()


@pytest.mark.parametrize("name", MODELS)
def test_it_has_a_public_function_a_recipe_and_a_title_of_its_own(name):
    assert getattr(phantom, name) is MODELS[name]
    assert name in phantom.__all__
    assert set(RECIPES) == set(NETWORKS)
    assert set(ARCHITECTURES) == set(HITS)
    for group in (ARCHITECTURES, UNGUIDED, EXCLUSIVE):
        assert len({architecture.title for architecture in group.values()}) == len(group)


@pytest.mark.parametrize("name", MODELS)
def test_two_calls_give_two_models_with_the_same_weights(name):
    first, second = MODELS[name](), MODELS[name]()
    assert first is not second
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_wrong_name_is_refused_in_one_line():
    with pytest.raises(OptionError, match="network 'rnn' was asked for; there are cnn, vit, swin, unguided_cnn"):
        untrained("rnn")
