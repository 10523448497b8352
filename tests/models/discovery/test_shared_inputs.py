"""Further inputs belong to one image each, or to all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import ShapeError
from pellucid.models.discovery.shared_inputs import with_shared
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, images, seeded


class Prompted(nn.Module):
    """One score for each prompt; ``scale`` belongs to each image, or to all."""

    def __init__(self) -> None:
        super().__init__()
        self.network = seeded(TinyCNN)

    def forward(self, image: Tensor, prompts: Tensor, scale: Tensor | None = None) -> Tensor:
        scores = self.network(image) @ prompts.T
        return scores if scale is None else scores * scale


class Aged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = seeded(TinyCNN)

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        return self.network(image) + age


def shared(model: nn.Module, **inputs: Tensor) -> frozenset[str]:
    return with_shared(Session.of(model.eval(), Runtime()), Inputs.of(inputs)).shared


@pytest.mark.parametrize("count", [1, 2, 3])
def test_prompts_are_shared_however_many_images_there_are(count: int) -> None:
    assert shared(Prompted(), image=images(count), prompts=torch.rand(2, 4)) == {"prompts"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_value_for_each_image_is_not_shared(count: int) -> None:
    assert shared(Aged(), image=images(count), age=torch.rand(count, 1)) == frozenset()


def test_a_value_without_an_axis_is_shared() -> None:
    assert shared(Prompted(), image=images(2), prompts=torch.rand(3, 4), scale=torch.tensor(2.0)) == {
        "prompts",
        "scale",
    }


def test_what_fits_neither_way_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"2 images were given with other inputs of \{'age': 3\}"):
        shared(Aged(), image=images(2), age=torch.rand(3, 1))


def test_what_the_network_takes_is_tried_once() -> None:
    model = Prompted().eval()
    calls: list[int] = []
    session = Session.of(model, Runtime())
    session.network.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        with_shared(session, Inputs.of({"image": images(2), "prompts": torch.rand(3, 4)}))
    assert len(calls) == 1
