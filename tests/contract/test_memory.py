"""The memory of methods with many passes does not grow with their number, and is that of a few passes."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

import pellucid
from pellucid.core import catalogue
from pellucid.core.runtime import Runtime
from tests.memory import peak
from tests.networks import images

SIZE = 8
GROWING = {
    "rise": ({"masks": 16}, {"masks": 160}),
    "occlusion": ({"window": 16, "stride": 16}, {"window": 16, "stride": 4}),
    "integrated_gradients": ({"steps": 8}, {"steps": 80}),
    "smoothgrad": ({"samples": 2}, {"samples": 20}),
    "smoothgrad_squared": ({"samples": 2}, {"samples": 20}),
    "vargrad": ({"samples": 2}, {"samples": 20}),
}
FORWARD = ("rise", "occlusion", "scorecam", "ablationcam")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return timm.create_model("test_resnet").eval()


def explainer(model: torch.nn.Module, name: str, options: dict[str, Any]) -> pellucid.Explainer:
    method = catalogue.find(name)(**options)
    layers = ["layer1"] if method.uses_layers else None  # as many masks as it has channels: the deepest has eight times
    return pellucid.Explainer(model, method, layers=layers, runtime=Runtime(batch_size=SIZE))


def taken(model: torch.nn.Module, name: str, options: dict[str, Any], count: int = 2) -> int:
    """The most bytes alive during an explanation of ``count`` images, SIZE a pass."""
    # What is found of the model is kept, and its memory is not tested: a first call finds it, with few passes.
    explainer(model, name, GROWING.get(name, ({}, {}))[0])(images(1, side=64), targets=0)
    return peak(lambda: explainer(model, name, options)(images(count, side=64), targets=0))


@pytest.mark.parametrize("name", GROWING)
def test_ten_times_the_passes_take_no_more_memory(model: torch.nn.Module, name: str) -> None:
    few, many = (taken(model, name, options) for options in GROWING[name])
    assert many <= 1.05 * few


@pytest.mark.parametrize("name", FORWARD)
def test_masks_take_what_a_plain_pass_of_as_many_images_takes(model: torch.nn.Module, name: str) -> None:
    with torch.no_grad():
        plain = peak(lambda: model(images(SIZE, side=64)))
    assert taken(model, name, GROWING.get(name, ({}, {}))[1]) <= 1.6 * plain


@pytest.mark.parametrize("name", FORWARD)
def test_more_images_take_no_more_memory(model: torch.nn.Module, name: str) -> None:
    options = GROWING.get(name, ({}, {}))[0]
    assert taken(model, name, options, 3) <= 1.25 * taken(model, name, options, 1)
