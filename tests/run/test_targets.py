"""The targets of a call: every form of request, and those that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.errors import TargetError
from tests.networks import TinyCNN, images, seeded
from tests.run.explaining import EXACT, refused, same


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (2, [[2], [2], [2]]),
        ([0, 3, 1], [[0], [3], [1]]),
        (["c", 3, "A"], [[2], [3], [0]]),
        ("d", [[3], [3], [3]]),
        (torch.tensor([0, 3, 1]), [[0], [3], [1]]),
        (torch.tensor([[0, 1], [3, 3], [1, 2]]), [[0, 1], [3, 3], [1, 2]]),
        ("all", [[0, 1, 2, 3]] * 3),
    ],
)
def test_targets(model: nn.Module, targets: object, expected: list[list[int]]) -> None:
    found = pellucid.explain(model, images(3), "hirescam", targets, classes=["a", "b", "c", "d"])
    assert found.targets.tolist() == expected
    assert found.heatmaps.shape == (3, len(expected[0]), 32, 32)
    assert found.attributions.shape == (3, len(expected[0]), 8, 8)
    for image, row in enumerate(expected):
        for column, index in enumerate(row):
            single = pellucid.explain(model, images(3)[image : image + 1], "hirescam", index)
            torch.testing.assert_close(found.attributions[image, column], single.attributions[0, 0], **EXACT)
            torch.testing.assert_close(found.heatmaps[image, column], single.heatmaps[0, 0], **EXACT)


def test_the_predicted_class(model: nn.Module) -> None:
    found = pellucid.explain(model, images(3))
    torch.testing.assert_close(found.logits, model(images(3)).detach(), **EXACT)
    assert found.targets[:, 0].tolist() == found.logits.argmax(1).tolist()
    same(found, pellucid.explain(model, images(3), targets=found.logits.argmax(1)))


def test_a_callable(model: nn.Module) -> None:
    found = pellucid.explain(model, images(3), "hirescam", lambda logits: logits[:, 1] - logits[:, 2])
    each = pellucid.explain(model, images(3), "hirescam", torch.tensor([[1, 2]] * 3)).attributions
    torch.testing.assert_close(found.attributions[:, 0], each[:, 0] - each[:, 1], **EXACT)
    assert found.targets.tolist() == [[-1]] * 3
    two = pellucid.explain(model, images(3), "hirescam", lambda logits: logits[:, 1:3])
    torch.testing.assert_close(two.attributions, each, **EXACT)


@pytest.mark.parametrize(
    ("targets", "part"),
    [
        (4, "4 classes, 0 to 3"),
        ([0, 1], "2 images"),
        (torch.tensor([0, 1]), "2 images"),
        (torch.tensor(1), "(B,) or (B, K)"),
        (torch.rand(3), "whole numbers"),
        ("d", "give classes="),
        (None, "NoneType"),
        (lambda logits: logits.sum(), "(3,) or (3, K)"),
        (10**30, "no model"),
    ],
)
def test_targets_that_cannot_be(model: nn.Module, targets: object, part: str) -> None:
    refused(TargetError, part, model, images(3), targets=targets)


def test_a_callable_gets_what_the_model_returns() -> None:
    """Of a network that ends in a softmax: probabilities, though the logits before it are explained."""
    network, batch, given = nn.Sequential(seeded(TinyCNN), nn.Softmax(dim=1)).eval(), images(2), []

    def first(returned: Tensor) -> Tensor:
        given.append(returned.detach())
        return returned[:, 0]

    pellucid.explain(network, batch, "saliency", first)
    torch.testing.assert_close(given[-1], network(batch).detach(), rtol=1e-5, atol=1e-6)
