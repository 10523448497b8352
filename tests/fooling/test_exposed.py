"""Fooled tiny networks predict what they did, their maps moved, and the figures differ with intervals apart."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest
import torch
from benchmarks import fooled_measures
from benchmarks.fooled_figures import Figure
from benchmarks.fooled_measures import Cases, Mapped, alike
from benchmarks.fooling import Objective, Recipe, fooled
from benchmarks.fooling_anders import Anders, OffHyperplane
from benchmarks.fooling_heo import Heo, Location, TopK, frame
from torch import Tensor, nn

import pellucid
from pellucid import Method
from pellucid.methods import GradCAM, InputXGradient, Saliency
from pellucid.metrics import Deletion
from pellucid.priors import Random
from tests.fooling.tiny import LAYER, SIDE, drawn, trained

CASES = 60
EDGE = frame(torch.zeros(1, SIDE, SIDE), 2)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fooled_measures, "LAST", LAYER)
    monkeypatch.setattr(fooled_measures, "CELL", 4)
    monkeypatch.setattr(fooled_measures, "RANDOM", Random(draws=4))
    monkeypatch.setattr(fooled_measures, "DELETIONS", {"zero": Deletion(steps=8)})


@cache
def cases() -> Cases:
    lessons, masks = drawn(CASES, 9)
    return Cases(lessons.images, lessons.labels, masks)


def measured(network: nn.Module, method: Method, judged: Cases | None = None) -> Mapped:
    judged = judged or cases()
    found = fooled_measures.explained(network, judged, method)
    return fooled_measures.mapped(network, judged, found, fooled_measures.random_order(network, judged))


def right(network: nn.Module, judged: Cases) -> Tensor:
    with torch.no_grad():
        return network(judged.images).argmax(1) == judged.classes


def tuned(objective: Objective, steps: int) -> nn.Module:
    lessons, _ = drawn(256, 3)
    return fooled(trained(), objective, lessons, Recipe(steps, 1e-2, 16))


@pytest.mark.parametrize(
    ("objective", "steps", "method"),
    [
        (Heo(Location(), LAYER, 10.0), 300, GradCAM()),
        (Heo(TopK(), LAYER, 10.0), 200, GradCAM()),
        (Anders(Saliency(), EDGE, 0.9), 250, Saliency()),
    ],
    ids=["location", "top-k", "saliency"],
)
def test_fooled_weights_are_exposed(objective: Objective, steps: int, method: Method) -> None:
    changed = tuned(objective, steps)
    before, after = measured(trained(), method), measured(changed, method)
    assert right(changed, cases()).float().mean() > right(trained(), cases()).float().mean() - 0.01
    assert alike(after.explanation, before.explanation) < 0.5
    hits, others = Figure.of(after.hit_rate), Figure.of(before.hit_rate)
    assert hits.estimate < others.estimate
    assert hits.apart(others)
    gap, other = Figure.of(after.gap("zero")), Figure.of(before.gap("zero"))
    assert other.high is not None
    assert other.high < 0 < gap.estimate  # better than random order before, and not after
    assert gap.apart(other)


def test_a_fine_tuning_without_a_penalty_is_not_exposed() -> None:
    changed = tuned(Heo(Location(), LAYER, 0.0), 100)
    before, after = measured(trained(), GradCAM()), measured(changed, GradCAM())
    assert alike(after.explanation, before.explanation) > 0.9
    assert not Figure.of(after.hit_rate).apart(Figure.of(before.hit_rate))
    assert not Figure.of(after.gap("zero")).apart(Figure.of(before.gap("zero")))


def test_deletion_need_not_expose_what_the_hit_rate_does() -> None:
    """The score depends on the pixels that the fooled map shows, where they are replaced by what no image has."""
    changed = tuned(Anders(InputXGradient(), EDGE, 0.9), 250)
    before, after = (measured(one, InputXGradient()) for one in (trained(), changed))
    assert right(changed, cases()).all()
    assert Figure.of(after.hit_rate).apart(Figure.of(before.hit_rate))
    high = Figure.of(after.gap("zero")).high
    assert high is not None
    assert high < 0  # still far better than random order


def framed() -> Cases:
    images = torch.where(EDGE > 0, -2.0, cases().images)
    return Cases(images, cases().classes, cases().masks)


@pytest.mark.parametrize("of_all", [True, False])
def test_closed_form(of_all: bool) -> None:
    """Deletion finds nothing at the border where all logits move alike, and all of it where one class alone does."""
    upper = EDGE * (torch.arange(SIDE)[:, None] < SIDE // 2)
    slopes = torch.stack([EDGE, EDGE] if of_all else [upper, EDGE - upper])[:, None]
    washed = OffHyperplane(trained(), -30 * slopes, -2.0)
    judged = framed()
    before, after = measured(trained(), Saliency(), judged), measured(washed, Saliency(), judged)
    assert torch.equal(washed(judged.images), trained()(judged.images))
    assert not after.hits.any()
    gap = Figure.of(after.gap("zero"))
    assert gap.low is not None
    assert gap.high is not None
    if of_all:
        images = judged.images + torch.rand_like(judged.images)
        torch.testing.assert_close(washed(images).softmax(1), trained()(images).softmax(1), atol=1e-4, rtol=0)
        assert gap.estimate > Figure.of(before.gap("zero")).estimate
    else:
        assert gap.high < 0


def test_measures_by_hand() -> None:
    few = Cases(cases().images[:3], cases().classes[:3], cases().masks[:3])
    found = measured(trained(), Saliency(), few)
    for index in range(3):
        leaf = few.images[index : index + 1].clone().requires_grad_()
        trained()(leaf)[0, few.classes[index]].backward()
        assert leaf.grad is not None
        heat = leaf.grad.abs()[0, 0]
        peak = divmod(int(heat.argmax()), SIDE)
        assert bool(found.hits[index]) == bool(few.masks[index][peak])
        orders = [Random(draw=draw).map_on((SIDE, SIDE), 0, draw) for draw in range(4)]
        curves = [area(few.images[index], int(few.classes[index]), order) for order in (heat, *orders)]
        assert float(found.gaps["zero"][index]) == pytest.approx(
            curves[0] - sum(curves[1:]) / 4, abs=2e-2
        )  # ties at random
    assert found.empty == 0


def test_cells_are_means() -> None:
    found = pellucid.explain(trained(), cases().images[:2], "saliency", cases().classes[:2], head="softmax")
    shown = fooled_measures.by_cells(found, SIDE)
    for index, heat in enumerate(found.attributions[:, 0].tolist()):
        for y in range(SIDE):
            for x in range(SIDE):
                top, left = y - y % 4, x - x % 4
                cell = [heat[top + down][left + across] for down in range(4) for across in range(4)]
                assert float(shown[index, 0, y, x]) == pytest.approx(sum(cell) / 16, rel=1e-4)


def area(image: Tensor, label: int, order: Tensor, steps: int = 8) -> float:
    """The area below the probability of a class, pixels set to 0 from the highest on; ties in any order."""
    ranked = order.flatten().argsort(descending=True, stable=True).tolist()
    values = []
    for step in range(steps + 1):
        changed = image.flatten().clone()
        changed[ranked[: round(step * len(ranked) / steps)]] = 0
        with torch.no_grad():
            values.append(float(trained()(changed.reshape(1, 1, SIDE, SIDE)).softmax(1)[0, label]))
    return sum((one + other) / 2 for one, other in pairwise(values)) / steps


def test_a_map_of_nothing_is_counted() -> None:
    silent = OffHyperplane(nn.Sequential(nn.Flatten(), Zero()), torch.zeros(2, 1, SIDE, SIDE), 0.0)
    found = measured(silent, Saliency())
    assert found.empty == 1
    assert not found.hits.any()
    assert pellucid.statistics.proportion(found.hits.numpy()).estimate == 0


class Zero(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[:, :2] * 0
