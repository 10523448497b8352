"""Two views, mirror images, a local branch and slices with published backbones: each map by hand, to 1e-6.

By hand: the outputs of a layer that a hook of the test keeps, their gradients by autograd, and the view of each run as
the network is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import monai
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from tests.networks import trained

FORMULAS = ("hirescam", "gradcam")
SIZE = (64, 96)
Cells = Callable[[Tensor], Tensor]


def channels_first(output: Tensor) -> Tensor:
    return output


def channels_last(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


def patches(output: Tensor) -> Tensor:
    """Tokens (B, 1 + T, C) of which the first is the class token's, on a grid of patches of 16 pixels."""
    return output[:, 1:].transpose(1, 2).unflatten(2, (SIZE[0] // 16, SIZE[1] // 16))


def resnet() -> nn.Module:
    return headless(torchvision.models.resnet18(), "fc")


def mobilenet() -> nn.Module:
    return headless(torchvision.models.mobilenet_v3_small(), "classifier")


def headless(network: nn.Module, head: str) -> nn.Module:
    setattr(network, head, nn.Identity())
    return network


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=SIZE, num_classes=0, depth=3, global_pool="avg")


def swin() -> nn.Module:
    return timm.create_model("swin_tiny_patch4_window7_224", img_size=SIZE, num_classes=0, depths=(1, 1, 1, 1))


def densenet() -> nn.Module:
    return headless(monai.networks.nets.DenseNet121(2, 3, 1, block_config=(2, 2, 2, 2)), "class_layers")


BACKBONES: dict[str, tuple[Callable[[], nn.Module], str, Cells]] = {
    "resnet18": (resnet, "layer4", channels_first),
    "mobilenet_v3_small": (mobilenet, "features", channels_first),
    "efficientnet_lite0": (lambda: timm.create_model("efficientnet_lite0", num_classes=0), "bn2", channels_first),
    "convnext_atto": (lambda: timm.create_model("convnext_atto", num_classes=0), "stages", channels_first),
    "densenet121": (densenet, "features", channels_first),
    "vit_tiny": (vit, "blocks.1", patches),
    "swin_tiny": (swin, "norm", channels_last),
}


def drawn(build: Callable[[], nn.Module]) -> nn.Module:
    """A network of double precision with fixed weights and norm statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return trained(build()).double().eval()


def randomly(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def runs_of(model: nn.Module, layer: str, images: Tensor | dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The layer's output in each of its runs, and the gradient of the sum of all images' scores of class 1 there."""
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    scores = model(**images) if isinstance(images, dict) else model(images)
    hook.remove()
    return list(zip([one.detach() for one in kept], torch.autograd.grad(scores[:, 1].sum(), kept), strict=True))


def by_hand(method: str, run: tuple[Tensor, Tensor], cells: Cells) -> Tensor:
    """HiResCAM, or Grad-CAM with its ReLU, of one run: (B, h, w)."""
    activations, gradients = map(cells, run)
    if method == "hirescam":
        return (gradients * activations).sum(dim=1)
    return torch.einsum("bc,bchw->bhw", gradients.mean(dim=(2, 3)), activations).relu()


def enlarged(maps: Tensor, size: Sequence[int] = SIZE) -> Tensor:
    return F.interpolate(maps[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


class TwoViews(nn.Module):
    """The views of a mammogram through one backbone, their features concatenated."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.backbone, self.fc = build(), nn.LazyLinear(3)
        self(torch.rand(1, 3, *SIZE), torch.rand(1, 3, *SIZE))

    def forward(self, cc: Tensor, mlo: Tensor) -> Tensor:
        return self.fc(torch.cat([self.backbone(cc), self.backbone(mlo)], dim=1).tanh())


class Flips(nn.Module):
    """The mean of the logits of the image and of its mirror image."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.backbone, self.fc = build(), nn.LazyLinear(3)
        self(torch.rand(1, 3, *SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.fc(self.backbone(view).tanh()) for view in (x, x.flip(3))]).mean(0)


class GlobalAndLocal(nn.Module):
    """One network sees the image, another one a fixed crop of it, as in GMIC; their features are concatenated."""

    def __init__(self, whole: Callable[[], nn.Module], part: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.whole, self.part, self.fc = whole(), part(), nn.LazyLinear(3)
        self(torch.rand(1, 3, *SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cat([self.whole(x), self.part(x[..., 32:, 16:80])], dim=1).tanh())


class Slices(nn.Module):
    """Slices (B, S, C, H, W) through a backbone, and an LSTM over them."""

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.backbone, self.fc = build(), nn.Linear(10, 3)
        width = self.backbone(torch.rand(1, 3, *SIZE)).flatten(1).shape[1]
        self.lstm = nn.LSTM(width, 5, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x.flatten(0, 1)).flatten(1).unflatten(0, x.shape[:2])
        return self.fc(self.lstm(features)[0].mean(1))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit_tiny"])
def test_of_two_views_the_run_of_the_explained_one(name: str) -> None:
    build, layer, cells = BACKBONES[name]
    model = drawn(lambda: TwoViews(build).eval())
    images = {"mlo": randomly(2, 3, *SIZE), "cc": 1 - randomly(2, 3, *SIZE)}
    mlo = runs_of(model, f"backbone.{layer}", images)[1]  # the first run is that of cc
    for method in FORMULAS:
        found = pellucid.explain(model, images, method, [1, 1], layers=[f"backbone.{layer}"])
        close(found.attributions[:, 0], by_hand(method, mlo, cells))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "swin_tiny"])
def test_the_run_of_a_mirror_image_is_mirrored_back(name: str) -> None:
    build, layer, cells = BACKBONES[name]
    model, images = drawn(lambda: Flips(build).eval()), randomly(2, 3, *SIZE)
    runs = runs_of(model, f"backbone.{layer}", images)
    for method in FORMULAS:
        own, mirrored = (enlarged(by_hand(method, run, cells)) for run in runs)
        found = pellucid.explain(model, images, method, [1, 1], layers=[f"backbone.{layer}"])
        close(found.attributions[:, 0], own + mirrored.flip(2))


@pytest.mark.parametrize(
    ("whole", "part"), [("resnet18", "mobilenet_v3_small"), ("convnext_atto", "mobilenet_v3_small")]
)
def test_a_local_branch_is_drawn_in_its_crop_and_added(whole: str, part: str) -> None:
    names = {"whole": BACKBONES[whole], "part": BACKBONES[part]}
    model = drawn(lambda: GlobalAndLocal(names["whole"][0], names["part"][0]).eval())
    images, layers = randomly(2, 3, *SIZE), [f"{branch}.{layer}" for branch, (_, layer, _) in names.items()]
    (of_whole,), (of_part,) = (runs_of(model, layer, images) for layer in layers)
    for method in FORMULAS:
        expected = enlarged(by_hand(method, of_whole, channels_first))
        expected[:, 32:, 16:80] += enlarged(by_hand(method, of_part, channels_first), (32, 64))
        found = pellucid.explain(model, images, method, [1, 1], layers=layers, fuse="sum")
        close(found.attributions[:, 0], expected)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny", "densenet121"])
def test_each_slice_before_an_lstm_has_its_map(name: str) -> None:
    build, layer, cells = BACKBONES[name]
    model, images = drawn(lambda: Slices(build).eval()), randomly(2, 3, 3, *SIZE)
    (run,) = runs_of(model, f"backbone.{layer}", images)
    for method in FORMULAS:
        found = pellucid.explain(model, images, method, [1, 1], layers=[f"backbone.{layer}"])
        close(found.attributions[:, 0], by_hand(method, run, cells).unflatten(0, (2, 3)))
        assert found.heatmaps.shape == (2, 1, 3, *SIZE)
