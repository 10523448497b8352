"""Quantised networks: maps without gradients are the float network's, and gradients are refused in one line."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid.errors import GradientError
from tests.networks import TinyCNN, TinyViT, images, seeded

pytestmark = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines or not hasattr(torch.ao, "quantization"),
    reason="this torch quantises nothing",
)


class Stubbed(nn.Module):
    """A network whose input is quantised, and whose output is not."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.quant, self.model, self.dequant = (
            torch.ao.quantization.QuantStub(),
            model,
            torch.ao.quantization.DeQuantStub(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.dequant(self.model(self.quant(x)))


class Trunk(nn.Module):
    """Convolutions, with a ReLU of its own after the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU6())
        self.pool, self.flat, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flat(self.pool(self.body(x))))


def dynamic(model: nn.Module) -> nn.Module:
    return quietly(lambda: torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8))


def static(model: nn.Module) -> nn.Module:
    def make() -> nn.Module:
        made = copy.deepcopy(model)
        if hasattr(made, "fuse_model"):
            made.fuse_model()
        made.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
        torch.ao.quantization.prepare(made, inplace=True)
        made(batch())
        return torch.ao.quantization.convert(made)

    return quietly(make)


def quietly(make: Callable[[], nn.Module]) -> nn.Module:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # torch.ao is deprecated
        return make().eval()


def batch() -> Tensor:
    """A bright square on noise, so that a class's score depends on where one looks."""
    found = 0.3 * images(2, side=32)
    found[:, :, 4:16, 16:28] += 2
    return found


def resnet() -> nn.Module:
    return torchvision.models.quantization.resnet18(weights=None, quantize=False, num_classes=4)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", patch_size=8, depth=2, img_size=32, num_classes=4)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], nn.Module]]] = {
    "cnn, dynamic": (TinyCNN, dynamic),
    "vit, dynamic": (TinyViT, dynamic),
    "timm vit, dynamic": (vit, dynamic),
    "cnn, static": (lambda: Stubbed(Trunk()), static),
    "torchvision resnet, static": (resnet, static),
}
CLOSE = {"eigencam": 0.99}
WEIGHED = {**CLOSE, "scorecam": 0.99}
COARSE = {**WEIGHED, "ablationcam": 0.98, "occlusion": 0.85, "rise": 0.98}
LEAST = {
    "cnn, dynamic": COARSE,
    "vit, dynamic": WEIGHED,
    "timm vit, dynamic": WEIGHED,
    "cnn, static": CLOSE,
    "torchvision resnet, static": WEIGHED,
}
"""How alike maps are at least (correlation).

Differences of scores, of which the other methods make their maps, are coarse where scores are rounded: in untrained
networks they are smaller than the steps.
"""


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    make, quantise = NETWORKS[name]
    model = seeded(make).eval()
    return model, quantise(model)


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_without_gradients_are_those_of_the_float_network(name: str) -> None:
    model, quantised = pair(name)
    for method, least in LEAST[name].items():
        own, found = (pellucid.explain(one, batch(), method=method, targets=[1, 1]) for one in (model, quantised))
        assert found.layers == own.layers
        assert not found.degenerate.any()
        pairs = zip(own.heatmaps.flatten(1), found.heatmaps.flatten(1), strict=True)
        assert min(float(torch.corrcoef(torch.stack(both))[0, 1]) for both in pairs) > least, method


@pytest.mark.parametrize("method", ["gradcam", "saliency", "shapleycam", "guided_backprop", "attnlrp", "fullgrad"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_refused(name: str, method: str) -> None:
    _, quantised = pair(name)
    with pytest.raises(
        GradientError, match=r"the model is quantised.*use a method that needs none \(.*eigencam"
    ) as raised:
        pellucid.explain(quantised, batch(), method=method)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", ["rollout", "legrad", "gradient_rollout", "attention"])
def test_attention_is_refused(method: str) -> None:
    for name in ("vit, dynamic", "timm vit, dynamic"):
        with pytest.raises(GradientError, match="the model is quantised"):
            pellucid.explain(pair(name)[1], batch(), method=method)


def test_what_may_be_quantised_later_has_gradients() -> None:
    model, _ = pair("torchvision resnet, static")
    assert pellucid.explain(model, batch(), method="hirescam").attributions.any()
