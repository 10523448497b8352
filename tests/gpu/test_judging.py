"""Metrics, priors, attacks, changes and choices on a GPU: the figures of a CPU."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import phantom
from pellucid.core.attack import ATTACKS
from pellucid.core.catalogue import PRIORS
from pellucid.core.change import CHANGES
from pellucid.core.metric import METRICS, Comparison
from pellucid.core.replacement import References
from pellucid.core.runtime import Runtime
from pellucid.evaluation import read_data
from pellucid.models.preprocessing import Preprocessing
from pellucid.robustness import RobustnessPlan, robustness_of
from tests.attacks.networks import Bent, made, pictures
from tests.evaluation.small_set import network as small_network
from tests.evaluation.small_set import written

pytestmark = pytest.mark.gpu

GPU = "cuda"
AS_IT_IS = Preprocessing(None, None, None, None)
METRIC_NAMES = sorted(METRICS.registered())


def on_gpu() -> Runtime:
    return Runtime(device=GPU)


@pytest.fixture(scope="module")
def drawn() -> phantom.Phantoms:
    return phantom.radiographs(24, 64, seed=778_000, exclusive=True)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return phantom.exclusive_cnn_64()


@pytest.fixture(scope="module")
def shown(drawn: phantom.Phantoms) -> Tensor:
    """Which of the images have a finding."""
    return drawn.labels.any(1)


@pytest.fixture(scope="module")
def given(model: nn.Module, drawn: phantom.Phantoms, shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Images that show a finding, its class, and its mask."""
    labels, prepared = drawn.labels[shown], pellucid.model_info(model).preprocessing.normalise(drawn.images[shown])
    finding = labels.int().argmax(1)
    return prepared, finding + 1, drawn.masks[shown][torch.arange(len(labels)), finding]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_a_metric_gives_the_values_of_the_cpu(
    name: str, model: nn.Module, given: tuple[Tensor, Tensor, Tensor]
) -> None:
    images, classes, masks = (one[:4] for one in given)
    if isinstance(METRICS.registered()[name](), Comparison):
        one, other = (pellucid.explain(model, images, method, classes) for method in ("gradcam", "saliency"))
        expected = pellucid.compare(one, other, metrics=[name])
        found = pellucid.compare(one.to(GPU), other.to(GPU), metrics=[name])
    else:
        maps = pellucid.explain(model, images, "saliency", classes)
        options = {"metrics": [name], "method": "saliency", "targets": classes, "masks": list(masks)}
        expected = pellucid.evaluate(model, images, maps, **options)
        found = pellucid.evaluate(copy.deepcopy(model).to(GPU), images.to(GPU), maps.to(GPU), **options)
    for column in expected:
        torch.testing.assert_close(found[column].cpu(), expected[column], rtol=2e-3, atol=2e-3, equal_nan=True)


@pytest.mark.parametrize("name", sorted(PRIORS.registered()))
def test_a_prior_draws_the_maps_of_the_cpu(name: str, model: nn.Module, given: tuple[Tensor, Tensor, Tensor]) -> None:
    images, classes, masks = given
    kind = PRIORS.registered()[name]
    prior = kind(masks) if name == "mean_mask" else kind()
    expected = pellucid.explain(model, images[:3], prior, classes[:3])
    found = pellucid.explain(model, images[:3], prior, classes[:3], runtime=on_gpu())
    torch.testing.assert_close(found.heatmaps.cpu(), expected.heatmaps, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", sorted(ATTACKS.registered()))
def test_an_attack_stays_within_its_budget_and_moves_as_much(name: str) -> None:
    network, images = made(Bent), pictures(6)
    attack = ATTACKS.registered()[name]()
    options = {"method": "saliency" if attack.moves_map else None, "preprocessing": AS_IT_IS}
    known = pellucid.attack(network, images, attack, **options)
    found = pellucid.attack(network, images, attack, **options, runtime=on_gpu())
    assert found.pixels.amin() >= 0
    assert found.pixels.amax() <= 1
    length = "l2" if "l2" in name else "linf"
    assert (getattr(found, length).cpu() <= attack.epsilon).all()
    assert found.labels.tolist() == known.labels.tolist()
    assert abs(int(found.moved.sum()) - int(known.moved.sum())) <= 1


@pytest.mark.parametrize("name", sorted(CHANGES.registered()))
def test_a_change_makes_the_image_of_the_cpu(name: str) -> None:
    kind = CHANGES.registered()[name]
    change = kind(strength=kind.levels[0])
    images = pictures(3, size=(32, 40))[:, :1]
    expected = change.changed(images, [1, 2, 3])
    found = change.changed(images.to(GPU), [1, 2, 3])
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


def test_robustness_of_a_data_set(tmp_path: Path) -> None:
    written(tmp_path)
    plan = RobustnessPlan(
        methods=("gradcam", "saliency"),
        changes=("noise", "rotation"),
        budgets={"noise": (0.0, 0.2), "rotation": (0.0, 15.0)},
    )
    data, known = read_data(tmp_path / "cases.csv"), small_network()
    expected = robustness_of(data, plan, known).scores
    found = robustness_of(data, plan, replace(known, runtime=on_gpu())).scores
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for key, value in other.items():
            known = pytest.approx(value, abs=5e-3, nan_ok=True) if isinstance(value, float) else value
            assert one[key] == known, key


def test_a_choice_is_that_of_the_cpu(
    model: nn.Module, drawn: phantom.Phantoms, shown: Tensor, given: tuple[Tensor, Tensor, Tensor]
) -> None:
    others = pellucid.model_info(model).preprocessing.normalise(drawn.images[~shown])
    reference = References(others, torch.zeros(len(others), dtype=torch.long), draws=2)
    options = {"targets": given[1], "reference": reference, "candidates": ["gradcam", "hirescam", "saliency"]}
    expected = pellucid.choose(model, given[0], **options)
    found = pellucid.choose(model, given[0], **options, runtime=on_gpu())
    assert [pair.key for pair in found.pairs] == [pair.key for pair in expected.pairs]
    for one, other in zip(found.pairs, expected.pairs, strict=True):
        assert one.grade == pytest.approx(other.grade, abs=2e-3)
    assert found.reason.split(":")[0] == expected.reason.split(":")[0]
