"""Training: a few steps write weights that load, and the figures are computed correctly."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from pellucid.errors import OptionError
from pellucid.phantom import radiographs
from pellucid.phantom.models import Classifier, untrained
from pellucid.phantom.training import RECIPES, Guide, app, auc, draw_pool, measure, normalised, train

SHORT = ["--steps", "3", "--pool", "8", "--batch", "4", "--fresh", "12"]


@pytest.mark.parametrize("name", RECIPES)
def test_three_steps_write_weights_that_load(name, tmp_path):
    result = CliRunner().invoke(app, [name, "--output", str(tmp_path / "made"), *SHORT])
    assert result.exit_code == 0, result.output
    assert "cavity: AUC" in result.output
    state = load_file(tmp_path / "made" / f"{name}.safetensors")
    start = untrained(name).network
    assert not all(torch.equal(value, state[key]) for key, value in start.state_dict().items())
    start.load_state_dict(state)


def test_training_does_not_change_the_global_random_state(tmp_path):
    before = torch.get_rng_state()
    CliRunner().invoke(app, ["cnn", "--output", str(tmp_path), *SHORT])
    assert torch.equal(torch.get_rng_state(), before)


def test_training_twice_gives_the_same(tmp_path):
    for name in ("first", "second"):
        CliRunner().invoke(app, ["vit", "--output", str(tmp_path / name), *SHORT, "--seed", "5"])
    first, second = (load_file(tmp_path / name / "vit.safetensors") for name in ("first", "second"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_another_seed_starts_from_other_weights():
    recipe = RECIPES["exclusive_cnn_64"].changed(pool=8, batch=4, steps=3, rate=1e-12)
    pool = draw_pool(recipe, seed=1)
    for seed in (0, 1):
        trained, start = train("exclusive_cnn_64", recipe, pool, seed), untrained("exclusive_cnn_64", seed)
        torch.testing.assert_close(list(trained.parameters()), list(start.parameters()))
    first, second = (untrained("exclusive_cnn_64", seed).get_parameter("network.fc.weight") for seed in (0, 1))
    assert not torch.equal(first, second)


def test_an_unknown_network_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["rnn", "--output", str(tmp_path)])
    assert result.exit_code == OptionError.exit_code
    assert result.output == "network 'rnn' was asked for; there are " + ", ".join(RECIPES) + "\n"
    assert not any(tmp_path.iterdir())


def test_the_cells_of_a_pool_agree_with_its_labels():
    pool = draw_pool(RECIPES["cnn"].changed(pool=6), seed=1)
    assert pool.images.dtype == torch.uint8
    assert torch.equal(pool.cells.flatten(2).amax(2).float(), pool.labels)


def test_the_labels_of_an_exclusive_pool_are_the_classes():
    recipe = RECIPES["exclusive_cnn_64"].changed(pool=12)
    pool = draw_pool(recipe, seed=1)
    assert pool.images.shape == (12, 1, 64, 64)
    assert set(pool.labels.tolist()) <= {0, 1, 2, 3}
    assert torch.equal(pool.cells.flatten(1).any(1), pool.labels > 0)


def test_a_pool_does_not_depend_on_who_draws_it():
    recipe = RECIPES["unguided_cnn"].changed(pool=6, side=32)
    alone, shared = (draw_pool(recipe, seed=1, workers=workers) for workers in (0, 1))
    assert torch.equal(alone.images, shared.images)
    assert torch.equal(alone.labels, shared.labels)


@pytest.mark.parametrize("name", [name for name in RECIPES if "_" in name])
def test_no_mask_is_looked_at_without_guidance(name):
    recipe = RECIPES[name].changed(steps=3, pool=6, batch=2)
    assert recipe.guidance == 0
    pool = draw_pool(recipe, seed=1)
    other = replace(pool, cells=~pool.cells)
    first, second = (train(name, recipe, one).state_dict() for one in (pool, other))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", RECIPES)
def test_the_logits_per_cell(name):
    model = untrained(name).eval()
    torch.nn.init.normal_(model.network.get_classifier().weight)
    side = RECIPES[name].side
    images = normalised(radiographs(2, side).images)
    logits, by_cell = model.located(images)
    assert by_cell.shape == (2, len(model.classes), side // 8, side // 8)
    assert torch.equal(logits, model(images))
    if "cnn" in name:
        torch.testing.assert_close(by_cell.mean((2, 3)), logits)


def test_the_guide_rewards_evidence_where_findings_are():
    cells = draw_pool(RECIPES["cnn"].changed(pool=4), seed=1).cells.float()
    guide = Guide()
    losses = [float(guide(evidence, cells).detach()) for evidence in (40 * cells, 0 * cells, 40 * (1 - cells))]
    assert losses[0] < losses[1] < losses[2]


def test_auc():
    labels = torch.tensor([True, True, False, False])
    assert auc(torch.tensor([4.0, 3.0, 2.0, 1.0]), labels) == 1
    assert auc(torch.tensor([4.0, 1.0, 2.0, 1.0]), labels) == pytest.approx(0.625)
    assert auc(torch.zeros(4), labels) == 0.5


def test_the_figures_of_an_exclusive_set_are_those_of_a_class_against_the_rest():
    phantoms = radiographs(12, exclusive=True)
    figures = measure(Always(), phantoms)
    assert figures.auc == (0.5, 0.5, 0.5, 0.5)
    shares = [(phantoms.classes == number).float().mean().item() for number in range(4)]
    expected = [1 - shares[0], 1 - shares[1], shares[2], 1 - shares[3]]
    assert figures.accuracy == pytest.approx(expected)


def test_the_figures_of_a_constant_model():
    phantoms = radiographs(12)
    figures = measure(Classifier(Constant()), phantoms)
    assert figures.count == 12
    assert figures.auc == (0.5, 0.5, 0.5)
    assert figures.accuracy == pytest.approx((~phantoms.labels).float().mean(0).tolist())


class Constant(torch.nn.Module):
    def forward(self, images):
        return -torch.ones(len(images), 3)


class Always(torch.nn.Module):
    def forward(self, images):
        return torch.tensor([0.0, 0.0, 2.0, 0.0]).repeat(len(images), 1)
