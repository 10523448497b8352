"""Networks that crop, pad, mirror, roll, turn or enlarge their image: the map is drawn where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.errors import LayerError, NoAttentionError, NoSpatialLayerError
from tests.networks import TinyViT, seeded

SIZE = (64, 96)
TURN = torch.tensor([[[0.7, -0.7, 0.0], [0.7, 0.7, 0.0]]])
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Kind:
    """What a network does with its image (64, 96), and where a map of what it then sees lies on the image."""

    change: Change
    back: Change


def pasted(top: int, left: int) -> Change:
    return lambda maps: F.pad(maps, (left, SIZE[1] - left - maps.shape[-1], top, SIZE[0] - top - maps.shape[-2]))


def standardised(images: Tensor) -> Tensor:
    mean, spread = images.mean((1, 2, 3), keepdim=True), images.std((1, 2, 3), keepdim=True)
    return (images - mean) / spread


def in_place(images: Tensor) -> Tensor:
    part = torch.zeros_like(images[..., :64])
    part[..., 8:, :] = images[..., :56, 10:74]
    return part


KINDS = {
    "centre crop": Kind(lambda x: x[..., 16:48, 16:80], pasted(16, 16)),
    "corner crop": Kind(lambda x: x[..., :32, 64:], pasted(0, 64)),
    "padded to a square": Kind(lambda x: F.pad(x, (0, 0, 0, 32)), lambda maps: maps[..., :64, :]),
    "padded around": Kind(lambda x: F.pad(x, (16, 16, 32, 0), value=-1), lambda maps: maps[..., 32:, 16:112]),
    "reflected": Kind(lambda x: F.pad(x, (32, 32, 16, 16), mode="reflect"), lambda maps: maps[..., 16:80, 32:128]),
    "mirrored": Kind(lambda x: x.flip(3), lambda maps: maps.flip(3)),
    "upside down": Kind(lambda x: x.flip((2, 3)), lambda maps: maps.flip((2, 3))),
    "rolled": Kind(lambda x: x.roll((20, 41), (2, 3)), lambda maps: maps.roll((-20, -41), (2, 3))),
    "turned": Kind(lambda x: x.transpose(2, 3), lambda maps: maps.transpose(2, 3)),
    "a quarter": Kind(lambda x: torch.rot90(x, 1, (2, 3)), lambda maps: torch.rot90(maps, -1, (2, 3))),
    "standardised crop": Kind(lambda x: standardised(x)[..., 16:48, 16:80], pasted(16, 16)),
    "crop, mirrored": Kind(lambda x: x[..., 16:48, 16:80].flip(3), lambda maps: pasted(16, 16)(maps.flip(3))),
    "written": Kind(in_place, lambda maps: F.pad(maps[..., 8:, :], (10, 22, 0, 8))),
}


class Changing(nn.Module):
    def __init__(self, network: nn.Module, change: Change) -> None:
        super().__init__()
        self.network = network
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.change(x))


NETWORKS: dict[str, Callable[[tuple[int, int]], nn.Module]] = {
    "resnet": lambda _size: timm.create_model("test_resnet", num_classes=3),
    "vit": lambda size: TinyViT(2, 4, 1, size),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_map_is_drawn_where_the_network_looks(network: str, name: str) -> None:
    kind, images = KINDS[name], torch.rand(2, 3, *SIZE)
    seen = kind.change(images)
    inner = seeded(lambda: NETWORKS[network](tuple(seen.shape[2:]))).eval()
    layers = pellucid.recommended_layers(inner, tuple(seen.shape[1:]))
    expected = pellucid.explain(inner, seen, "hirescam", [1, 1], layers=layers)
    model = Changing(inner, kind.change).eval()
    found = pellucid.explain(model, images, "hirescam", [1, 1], layers=[f"network.{layer}" for layer in layers])
    on_frame = F.interpolate(expected.attributions, tuple(seen.shape[2:]), mode="bilinear")
    on_image = kind.back(on_frame)
    torch.testing.assert_close(found.attributions, on_image, rtol=1e-5, atol=1e-5 * float(on_image.abs().max()))
    positive = on_image.relu()
    low, high = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    scaled = torch.where(high > low, (positive - low) / (high - low), torch.zeros(()))
    torch.testing.assert_close(found.heatmaps, scaled, rtol=1e-4, atol=1e-4)
    assert found.provenance["views"]
    assert set(pellucid.explain(model, images, "hirescam").layers) <= {
        f"network.{name}" for name, _ in inner.named_modules()
    }


@pytest.mark.parametrize("size", [(32, 48), (128, 192), (224, 224)])
def test_a_network_that_resizes_its_image_is_drawn_as_others_are(size: tuple[int, int]) -> None:
    inner = seeded(lambda: torchvision.models.resnet18(num_classes=3)).eval()
    model = Changing(inner, lambda x: F.interpolate(x, size, mode="bilinear", antialias=True))
    images = torch.rand(1, 3, *SIZE)
    seen = F.interpolate(images, size, mode="bilinear", antialias=True)
    expected = pellucid.explain(inner, seen, "hirescam", 1, layers=["layer3"])
    found = pellucid.explain(model, images, "hirescam", 1, layers=["network.layer3"])
    torch.testing.assert_close(found.attributions, expected.attributions)
    assert found.provenance["views"] == {}


FRONTS: dict[str, Callable[[], nn.Module]] = {
    "an adapter": lambda: nn.Conv2d(3, 3, 1),
    "a norm": lambda: nn.BatchNorm2d(3),
    "an adapter and a norm": lambda: nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.InstanceNorm2d(3)),
    "transforms": lambda: torchvision.transforms.Normalize([0.5] * 3, [0.2] * 3),
}


class Fronted(nn.Module):
    """A module that makes another image stands before a published network, and gets a changed image."""

    def __init__(self, front: Callable[[], nn.Module], change: Change) -> None:
        super().__init__()
        self.front, self.change = front(), change
        self.network = timm.create_model("test_resnet", num_classes=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.front(self.change(x)))


@pytest.mark.parametrize("front", FRONTS)
def test_a_layer_before_the_convolutions_is_refused_where_they_see_a_changed_image(front: str) -> None:
    """Nothing measures where such a layer lies: a mirrored map was drawn as it came, with a share of 1."""
    model, images = seeded(Fronted, FRONTS[front], lambda x: x.flip(3)).eval(), torch.rand(1, 3, *SIZE)
    with pytest.raises(LayerError, match=r"'front' was asked for; it comes before .* first convolution") as caught:
        pellucid.explain(model, images, layers=["front"])
    later = str(caught.value).partition("such as '")[2].partition("'")[0]
    assert pellucid.explain(model, images, layers=[later]).provenance["views"]
    plain = seeded(Fronted, FRONTS[front], lambda x: x).eval()
    assert pellucid.explain(plain, images, "hirescam", 0, layers=["front"]).attributions.shape == (1, 1, *SIZE)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: F.grid_sample(
            x, F.affine_grid(TURN.expand(len(x), 2, 3), x.shape, align_corners=False), align_corners=False
        ),
        lambda x: (x - x.flip(3)).abs(),
        lambda x: x.unfold(2, 16, 16).unfold(3, 16, 16).sum((2, 3)),
    ],
)
def test_no_layer_is_found_before_convolutions_without_places(change: Change) -> None:
    model, images = seeded(Fronted, FRONTS["an adapter"], change).eval(), torch.rand(1, 3, *SIZE)
    with pytest.raises(NoSpatialLayerError, match="no fixed places of the image") as caught:
        pellucid.explain(model, images)
    name = str(caught.value).rpartition("such as ")[2].split(" or ")[0]
    assert pellucid.explain(model, images, name).heatmaps.shape == (1, 1, *SIZE)


class Parts(nn.Module):
    """The mean over all patches of 16 pixels, as entries of the batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        return self.network(parts).unflatten(0, (len(x), -1)).mean(1)


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "test_efficientnet"])
def test_more_parts_than_are_followed_are_refused_with_their_number(name: str) -> None:
    model, images = seeded(lambda: Parts(timm.create_model(name, num_classes=3))).eval(), torch.rand(1, 3, *SIZE)
    for layers in (None, [next(n for n, m in model.named_modules() if isinstance(m, nn.Conv2d))]):
        with pytest.raises(
            (LayerError, NoSpatialLayerError), match=r"passes 24 parts of an image as .* no more than 16"
        ) as caught:
            pellucid.explain(model, images, layers=layers)
    method = str(caught.value).rpartition(" or ")[2]
    assert pellucid.explain(model, images, method).heatmaps.shape == (1, 1, *SIZE)


class GlobalAndLocal(nn.Module):
    """One branch sees the image, the other a crop of it; ``follows``: the crop is where the image is brightest."""

    def __init__(self, follows: bool = False) -> None:
        super().__init__()
        self.whole, self.part = (nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Tanh()) for _ in range(2))
        self.fc = nn.Linear(12, 3)
        self.follows = follows

    def forward(self, x: Tensor) -> Tensor:
        left = 32 if not self.follows else int(x.mean((0, 1, 2)).argmax().clamp(max=SIZE[1] - 32))
        part = x[..., 16:48, left : left + 32]
        return self.fc(torch.cat([self.whole(x).mean((2, 3)), self.part(part).mean((2, 3))], dim=1))


def test_a_local_branch_is_drawn_in_its_crop_and_added() -> None:
    model, images = seeded(GlobalAndLocal).eval(), torch.rand(2, 3, *SIZE)
    found = pellucid.explain(model, images, "hirescam", [0, 0])
    assert found.layers == ("whole.1", "part")
    weights = model.fc.weight[0].detach()
    with torch.no_grad():
        whole, part = model.whole(images), model.part(images[..., 16:48, 32:64])
    one = torch.einsum("c,bchw->bhw", weights[:6], whole)[:, None] / whole[0, 0].numel()
    other = torch.einsum("c,bchw->bhw", weights[6:], part)[:, None] / part[0, 0].numel()
    expected = F.interpolate(one, SIZE, mode="bilinear")
    expected += F.pad(F.interpolate(other, (32, 32), mode="bilinear"), (32, 32, 16, 16))
    torch.testing.assert_close(found.attributions, expected, rtol=1e-5, atol=1e-7)


def test_a_crop_that_follows_the_image_is_refused_with_a_remedy() -> None:
    model, images = seeded(GlobalAndLocal, True).eval(), torch.rand(1, 3, *SIZE)
    alone = pellucid.Runtime(batch_size=1)  # the crop is that of the batch's brightest pixel
    with pytest.raises(LayerError, match="no fixed places of the image") as caught:
        pellucid.explain(model, images, layers=["part"], runtime=alone)
    assert pellucid.explain(model, images, runtime=alone).layers == ("whole.1",)
    name = str(caught.value).rpartition("such as ")[2].split(" or ")[0]
    assert pellucid.explain(model, images, name, runtime=alone).heatmaps.shape == (1, 1, *SIZE)


def test_mirror_images_joined_before_a_layer_are_refused_there() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.mix, self.fc = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(12, 6, 1), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.cat([self.stem(x), self.stem(x.flip(3))], dim=1)
            return self.fc(self.mix(both).tanh().mean((2, 3)))

    model, images = seeded(Joined).eval(), torch.rand(1, 3, *SIZE)
    with pytest.raises(LayerError, match="joined"):
        pellucid.explain(model, images, layers=["mix"])
    assert pellucid.explain(model, images).layers == ("stem",)


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "attention"])
def test_attention_is_drawn_on_what_the_network_sees(method: str) -> None:
    kind, images = KINDS["centre crop"], torch.rand(2, 3, *SIZE)
    seen = kind.change(images)
    inner = seeded(TinyViT, 2, 4, 1, tuple(seen.shape[2:])).eval()
    expected = pellucid.explain(inner, seen, method, [1, 1]).attributions
    found = pellucid.explain(Changing(inner, kind.change).eval(), images, method, [1, 1]).attributions
    on_image = kind.back(F.interpolate(expected, tuple(seen.shape[2:]), mode="bilinear"))
    torch.testing.assert_close(found, on_image, rtol=1e-5, atol=1e-7)


def test_attention_over_mirror_images_is_refused() -> None:
    model = Changing(seeded(TinyViT).eval(), lambda x: torch.cat([x, x.flip(3)]))
    mean = nn.Sequential(model, nn.Unflatten(0, (2, -1))).eval()
    mean.forward = lambda x: nn.Sequential.forward(mean, x).mean(0)
    with pytest.raises(NoAttentionError, match="such as gradcam"):
        pellucid.explain(mean, torch.rand(1, 3, 32, 32), "rollout")
    assert pellucid.explain(mean, torch.rand(1, 3, 32, 32), "gradcam").heatmaps.shape == (1, 1, 32, 32)


def test_guided_grad_cam_is_drawn_once() -> None:
    inner = seeded(lambda: torchvision.models.resnet18(num_classes=3)).eval()
    kind, images = KINDS["mirrored"], torch.rand(1, 3, *SIZE)
    layers = ["layer2"]
    expected = pellucid.explain(inner, images.flip(3), "guided_gradcam", 1, layers=layers).attributions.flip(3)
    model = Changing(inner, kind.change).eval()
    found = pellucid.explain(model, images, "guided_gradcam", 1, layers=["network.layer2"])
    torch.testing.assert_close(found.attributions, expected, rtol=1e-4, atol=1e-6)
