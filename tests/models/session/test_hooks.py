"""Hooks note, begin graphs and run other functions while they are open, and nothing of them stays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import GradientError
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from tests.comparing import same
from tests.networks import TinyCNN, images, seeded


def test_a_layer_before_an_in_place_relu_is_not_rewritten() -> None:
    model, batch = seeded(TinyCNN).eval(), images(1)
    activations = Pass.of(Session.of(model, Runtime()), batch, ["features.3"]).activations()
    assert activations.min() < 0


class Pair(NamedTuple):
    first: Tensor
    second: int


@pytest.mark.parametrize(
    "answer",
    [
        lambda y: {"y": y, "more": 1},
        lambda y: OrderedDict(y=y),
        lambda y: (1, y),
        lambda y: [y, y * 2],
        lambda y: Pair(y, 3),
    ],
    ids=["dict", "OrderedDict", "tuple", "list", "named tuple"],
)
def test_a_layer_that_answers_more_than_a_tensor(answer: Callable[[Tensor], object]) -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = seeded(TinyCNN).features

        def forward(self, x: Tensor) -> object:
            return answer(self.features(x))

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.fc = Part(), seeded(TinyCNN).fc

        def forward(self, x: Tensor) -> Tensor:
            found = self.part(x)
            assert type(found) is type(answer(x)), "the layer's answer keeps its kind"
            values = found.values() if isinstance(found, dict) else found
            return self.fc(next(v for v in values if isinstance(v, Tensor)).flatten(2).mean(-1))

    found = pellucid.explain(Whole(), images(1), layers=["part"], targets=0)
    expected = pellucid.explain(seeded(TinyCNN), images(1), layers=["features"], targets=0)
    torch.testing.assert_close(found.attributions, expected.attributions)


def test_a_layer_whose_output_is_an_inference_tensor() -> None:
    model = seeded(TinyCNN)
    expected = pellucid.explain(model, images(1), layers=["features"])
    model.features.forward = torch.inference_mode()(model.features.forward)
    same(pellucid.explain(model, images(1), layers=["features"]), expected)


def test_a_backbone_under_inference_mode() -> None:
    class Inferring(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                y = self.features(x)
            return self.fc(y.clone().flatten(2).mean(-1))

    with pytest.raises(GradientError, match="inference_mode"):
        pellucid.explain(seeded(Inferring), images(1), layers=["features.3"])
