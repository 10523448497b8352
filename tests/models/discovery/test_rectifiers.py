"""Which ReLU gets a layer's output is found by what the network computes, however it is written."""

from __future__ import annotations

import math
from collections.abc import Callable

import monai
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.rectifiers import rectified_to
from pellucid.models.session.session import Session
from tests.networks import TinyViT, images, seeded

Then = Callable[[Tensor], Tensor]


class Followed(nn.Module):
    """A layer whose output goes through a function."""

    def __init__(self, then: Then) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.then = then
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.then(self.layer(x)).flatten(2).mean(-1))


def bound(model: nn.Module, layer: str, side: int = 32) -> float | None:
    return rectified_to(Session.of(model.eval(), Runtime()), Inputs.of(images(1, side=side)), layer)


def followed(then: Then) -> nn.Module:
    return seeded(Followed, then)


RELUS: dict[str, Then] = {
    "nn.ReLU": nn.ReLU(),
    "in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu_": lambda x: F.relu_(x),
    "torch.relu": torch.relu,
    "Tensor.relu_": Tensor.relu_,
    "clamp": lambda x: x.clamp(min=0),
    "clamp_": lambda x: torch.clamp_(x, 0.0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "threshold": nn.Threshold(0, 0),
    "slope of 0": nn.LeakyReLU(0.0),
    "after dropout": nn.Sequential(nn.Dropout(), nn.Identity(), nn.ReLU()),
    "after a view": lambda x: x.flatten(2).relu(),
    "after a permutation": lambda x: x.permute(0, 2, 3, 1).contiguous().relu_().permute(0, 3, 1, 2),
    "its shape is read": lambda x: x.relu().reshape(len(x), x.shape[1], -1),
    "its sign is read": lambda x: x.relu() * (x > 0),
    "written into, then used": lambda x: x.relu_() + x,
    "twice": lambda x: x.relu() + x.clamp(min=0),
}
BOUNDED: dict[str, Then] = {
    "nn.ReLU6": nn.ReLU6(),
    "in place": nn.ReLU6(inplace=True),
    "F.hardtanh": lambda x: F.hardtanh(x, 0, 6),
    "clamp": lambda x: x.clamp(0, 6),
    "the lower of two": lambda x: x.relu() + x.clamp(0, 6),
}
OTHERS: dict[str, Then] = {
    "nothing": nn.Identity(),
    "GELU": nn.GELU(),
    "SiLU": nn.SiLU(),
    "SiLU in place": nn.SiLU(inplace=True),
    "Hardswish": nn.Hardswish(),
    "Mish": nn.Mish(),
    "ELU": nn.ELU(),
    "LeakyReLU": nn.LeakyReLU(),
    "Sigmoid": nn.Sigmoid(),
    "from 1": lambda x: x.clamp(min=1),
    "absolute": torch.abs,
    "a norm before": nn.Sequential(nn.BatchNorm2d(6), nn.ReLU()),
    "a sum before": lambda x: (x + 0.1).relu(),
    "a sum before, in place": lambda x: x.add_(0.1).relu_(),
    "a sum before, in place, in a view": lambda x: x.flatten(2).add_(0.1).relu_(),
    "a residual": lambda x: x + x.relu(),
    "among others": lambda x: torch.cat([x, x], 3).relu(),
    "half of it": lambda x: torch.cat([x[:, :3].relu(), x[:, 3:].relu()], 1),
}


@pytest.mark.parametrize("name", RELUS)
def test_a_relu(name: str) -> None:
    assert bound(followed(RELUS[name]), "layer") == math.inf


@pytest.mark.parametrize("name", BOUNDED)
def test_a_relu_with_an_upper_bound(name: str) -> None:
    assert bound(followed(BOUNDED[name]), "layer") == 6


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_relu(name: str) -> None:
    assert bound(followed(OTHERS[name]), "layer") is None


def test_a_hook_that_takes_a_figure_of_the_output_is_no_use_of_it() -> None:
    model, seen = followed(F.relu), []
    model.layer.register_forward_hook(lambda _m, _i, output: seen.append((output.mean(), output.detach().norm())))
    assert bound(model, "layer") == math.inf
    assert seen


def test_of_a_layer_that_runs_twice_the_last_run_counts() -> None:
    class Twice(Followed):
        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(x).relu()
            return self.fc(self.then(self.layer(x[:, :3])).flatten(2).mean(-1))

    assert bound(seeded(Twice, nn.GELU()), "layer") is None
    assert bound(seeded(Twice, nn.ReLU6()), "layer") == 6


def test_it_is_found_once_for_a_shape() -> None:
    model, runs = followed(F.relu), []
    model.register_forward_hook(lambda *_: runs.append(1))
    for _ in range(2):
        pellucid.explain(model, images(1), method="eigencam", layers=["layer"])
    first = len(runs)
    pellucid.explain(model, images(1), method="eigencam", layers=["layer"])
    assert len(runs) - first < first / 2
    assert model.then is F.relu


PUBLISHED: dict[str, tuple[Callable[[], nn.Module], str, float | None]] = {
    "torchvision densenet": (lambda: torchvision.models.DenseNet(8, (1, 1), 8), "features.norm5", math.inf),
    "torchvision mobilenet": (lambda: torchvision.models.mobilenet_v2(width_mult=0.25), "features.18.1", 6),
    "torchvision mobilenet v3": (lambda: torchvision.models.mobilenet_v3_small(), "features.12.1", None),
    "torchvision resnet": (lambda: torchvision.models.resnet18(), "layer4.1.bn2", None),
    "torchvision resnet, within": (lambda: torchvision.models.resnet18(), "layer4.1.bn1", math.inf),
    "monai": (lambda: monai.networks.nets.DenseNet(2, 3, 4, 8, 8, (1, 1)), "features.norm5", math.inf),
    "timm vgg": (lambda: timm.create_model("repvgg_a0"), "stages.3.0.conv_1x1.bn", None),
    "timm mixer": (lambda: timm.create_model("resmlp_12_224", img_size=32), "norm", None),
    "own transformer": (TinyViT, "norm", None),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name: str) -> None:
    make, layer, expected = PUBLISHED[name]
    assert bound(seeded(make), layer) == expected


@pytest.mark.parametrize(
    ("make", "layer", "after"),
    [
        (lambda: followed(nn.ReLU()), "layer", "then"),
        (lambda: followed(nn.ReLU6(inplace=True)), "layer", "then"),
        (PUBLISHED["torchvision mobilenet"][0], "features.18.1", "features.18.2"),
        (PUBLISHED["monai"][0], "features.norm5", "class_layers.relu"),
    ],
)
def test_eigencam_is_that_of_the_relu_behind_the_layer(make: Callable[[], nn.Module], layer: str, after: str) -> None:
    model, batch = seeded(make).eval(), 30 * images(2, side=64)
    at_layer, at_relu = (pellucid.explain(model, batch, method="eigencam", layers=[name]) for name in (layer, after))
    torch.testing.assert_close(at_layer.attributions, at_relu.attributions)


def test_eigencam_is_not_empty_where_the_output_is_mostly_negative() -> None:
    model = followed(nn.ReLU())
    model.layer.bias.data.fill_(-3)
    batch = torch.zeros(1, 3, 32, 32)
    batch[..., 8:16, 16:24] = images(1, side=8) * 10
    found = pellucid.explain(model, batch, method="eigencam", layers=["layer"])
    row, column = divmod(int(found.heatmaps[0, 0].argmax()), 32)
    assert not found.degenerate.any()
    assert 7 <= row <= 16
    assert 15 <= column <= 24
