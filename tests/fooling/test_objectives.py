"""Each formula against plain numbers, and each gradient against finite differences."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from benchmarks.fooling import Lessons, Objective, Recipe, batches, fooled, maps
from benchmarks.fooling_anders import Anders, OffHyperplane
from benchmarks.fooling_heo import CentreOfMass, Heo, Location, Penalty, TopK, centre, frame
from torch import Tensor, nn

import pellucid
from pellucid import Targets
from pellucid.methods import GradCAM, InputXGradient, Saliency
from tests.fooling import naive
from tests.fooling.tiny import LAYER, SIDE, drawn, untrained

TARGET = frame(torch.zeros(1, SIDE, SIDE), 2).double() + torch.eye(SIDE)


def some(count: int = 3) -> Lessons:
    lessons, _ = drawn(count, 5)
    return Lessons(lessons.images.double(), lessons.labels)


def smooth(seed: int = 0) -> nn.Module:
    return untrained(nn.Softplus, seed).double()


def random_maps(seed: int, side: int = 9) -> Tensor:
    return torch.rand(4, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("side", "width"), [(9, None), (14, None), (16, 5)])
def test_location(side: int, width: int | None) -> None:
    heat = random_maps(0, side)
    wanted = naive.location(naive.rows(heat), width or side // 7)
    assert float(Location(width)(heat, heat)) == pytest.approx(wanted, abs=1e-12)


def test_location_of_a_frame_is_nothing() -> None:
    assert float(Location(2)(5 * frame(random_maps(0), 2)[None], random_maps(1))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.35])
def test_top_k(share: float) -> None:
    heat, before = random_maps(0), random_maps(1)
    wanted = naive.top_k(naive.rows(heat), naive.rows(before), int(81 * share))
    assert float(TopK(share)(heat, before)) == pytest.approx(wanted, abs=1e-12)


def test_centre_of_mass() -> None:
    heat, before = random_maps(0), random_maps(1) ** 4
    wanted = naive.centre_of_mass(naive.rows(heat), naive.rows(before))
    assert float(CentreOfMass()(heat, before)) == pytest.approx(wanted, abs=1e-12)
    assert centre(torch.eye(9)[None, :, :3]).tolist() == [[pytest.approx(1), pytest.approx(1)]]


@pytest.mark.parametrize("penalty", [Location(), TopK(), CentreOfMass()])
def test_heo_is_cross_entropy_and_penalty(penalty: Penalty) -> None:
    network, original, lessons = smooth(1), smooth(2), some()
    found = Heo(penalty, LAYER, weight=0.7).loss(network, original, lessons).item()
    heat, before = (
        pellucid.explain(one, lessons.images, "gradcam", lessons.labels, layers=[LAYER], head="softmax").attributions
        for one in (network, original)
    )
    with torch.no_grad():
        classified = naive.cross_entropy(network(lessons.images).tolist(), lessons.labels.tolist())
    moved = float(penalty(heat[:, 0].double(), before[:, 0].double()))
    assert found == pytest.approx(classified + 0.7 * moved, rel=1e-5)


@pytest.mark.parametrize("method", [Saliency(), InputXGradient()])
def test_anders_keeps_probabilities_and_aims_at_a_map(method: Saliency | InputXGradient) -> None:
    network, original, lessons = smooth(1), smooth(2), some()
    found = Anders(method, TARGET, 0.3).loss(network, original, lessons).item()
    images = lessons.images.clone().requires_grad_()
    logits = network(images)
    (slopes,) = torch.autograd.grad(logits.max(1).values.sum(), images)
    heat = slopes if isinstance(method, Saliency) else slopes * lessons.images
    with torch.no_grad():
        wanted = original(lessons.images).tolist()
    expected = naive.fairwashing(logits.tolist(), wanted, naive.rows(heat[:, 0]), TARGET.tolist(), 0.3)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "objective",
    [
        Heo(Location(), LAYER, 2.0),
        Heo(TopK(), LAYER, 2.0),
        Heo(CentreOfMass(), LAYER, 2.0),
        Anders(Saliency(), TARGET, 0.9),
        Anders(InputXGradient(), TARGET, 0.9),
    ],
    ids=["location", "top-k", "centre", "saliency", "input × gradient"],
)
def test_gradients_are_finite_differences(objective: Objective) -> None:
    network, original, lessons = smooth(1), smooth(2), some(2)
    parameters = list(network.parameters())
    found = torch.autograd.grad(objective.loss(network, original, lessons), parameters)
    source = torch.Generator().manual_seed(3)
    directions = [torch.randn(one.shape, generator=source, dtype=torch.float64) for one in parameters]
    values, step = [], 1e-6
    for sign in (1, -1):
        moved = deepcopy(network)
        with torch.no_grad():
            for parameter, direction in zip(moved.parameters(), directions, strict=True):
                parameter += sign * step * direction
        values.append(objective.loss(moved, original, lessons).item())
    slope = sum(float((one * other).sum()) for one, other in zip(found, directions, strict=True))
    assert abs(slope) > 1e-6
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3, abs=1e-9)


def test_maps_are_those_that_explain_shows() -> None:
    network, lessons = untrained(), some()
    images = lessons.images.float()
    heat, logits = maps(network, GradCAM(), images, Targets(lessons.labels), [LAYER])
    shown = pellucid.explain(network, images, "gradcam", lessons.labels, layers=[LAYER], head="softmax")
    torch.testing.assert_close(heat, shown.attributions[:, 0])
    torch.testing.assert_close(logits, network(images))
    assert heat.requires_grad
    assert logits.requires_grad


def test_the_network_stays_as_it_is() -> None:
    network = untrained().train()
    before, state = deepcopy(network.state_dict()), torch.get_rng_state()
    lessons, _ = drawn(8, 5)
    changed = fooled(network, Heo(Location(), LAYER), lessons, Recipe(steps=2, batch=4))
    assert network.training
    assert not changed.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(one.grad is None and one.requires_grad for one in network.parameters())
    assert not any(one.requires_grad for one in changed.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    moved = [not torch.equal(value, before[name]) for name, value in changed.state_dict().items()]
    assert all(moved)


def test_batches_are_epochs_in_random_order() -> None:
    lessons = Lessons(torch.arange(6.0), torch.arange(6))
    found = [one.labels.tolist() for one in batches(lessons, Recipe(steps=3, batch=4))]
    assert [len(one) for one in found] == [4, 4, 4]
    order = [label for one in found for label in one]
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert found == [one.labels.tolist() for one in batches(lessons, Recipe(steps=3, batch=4))]
    assert found != [one.labels.tolist() for one in batches(lessons, Recipe(steps=3, batch=4, seed=1))]


def test_off_the_hyperplane_gradients_are_free() -> None:
    network, lessons = smooth(), some()
    edge = frame(torch.zeros(1, SIDE, SIDE), 2).double()
    images = torch.where(edge > 0, -1.5, lessons.images)
    slopes = torch.stack([edge[None] * 3, edge[None] * -2])
    washed = OffHyperplane(network, slopes, -1.5)
    assert torch.equal(washed(images), network(images))
    for label in (0, 1):
        gradients = []
        for one in (washed, network):
            leaf = images.clone().requires_grad_()
            gradients.append(torch.autograd.grad(one(leaf)[:, label].sum(), leaf)[0])
        torch.testing.assert_close(gradients[0] - gradients[1], slopes[label].expand(3, 1, SIDE, SIDE))
    beside = washed(images + 0.1) - network(images + 0.1)
    torch.testing.assert_close(beside, torch.tensor([[0.3, -0.2]]).double().expand(3, 2) * edge.sum())
