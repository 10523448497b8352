"""Of several images, the map is the explained one's: layers that join it with others are left, or warned of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid.errors import PellucidWarning
from tests.networks import seeded


def own() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4, bias=False), nn.ReLU())


def resnet() -> nn.Module:
    return nn.Sequential(*list(torchvision.models.resnet18().children())[:6])


BACKBONES: dict[str, tuple[Callable[[], nn.Module], int]] = {"own": (own, 8), "resnet18": (resnet, 128)}


class Priors(nn.Module):
    """The maps of a current and a prior image through one backbone, joined by a convolution."""

    def __init__(self, backbone: Callable[[], nn.Module], width: int) -> None:
        super().__init__()
        self.backbone, self.join, self.fc = backbone(), nn.Conv2d(2 * width, 8, 1), nn.Linear(8, 3)

    def forward(self, current: Tensor, prior: Tensor, age: Tensor | None = None) -> Tensor:
        both = torch.cat([self.backbone(current), self.backbone(prior)], dim=1)
        return self.fc(self.join(both).relu().mean((2, 3))) + (0 if age is None else age)


class TwoBackbones(Priors):
    """A backbone each."""

    def __init__(self, backbone: Callable[[], nn.Module], width: int) -> None:
        super().__init__(backbone, width)
        self.other = backbone()

    def forward(self, current: Tensor, prior: Tensor, age: Tensor | None = None) -> Tensor:
        both = torch.cat([self.backbone(current), self.other(prior)], dim=1)
        return self.fc(self.join(both).relu().mean((2, 3)))


class Early(nn.Module):
    """Images that are joined as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model("test_resnet", in_chans=6, num_classes=3)

    def forward(self, t1: Tensor, t2: Tensor) -> Tensor:
        return self.network(torch.cat([t1, t2], dim=1))


def marked(top: int, left: int) -> Tensor:
    """An image that is 0 but for a square."""
    image = torch.zeros(1, 3, 64, 64)
    image[..., top : top + 12, left : left + 12] = torch.rand(1, 3, 12, 12) + 0.5
    return image


@pytest.mark.parametrize("kind", [Priors, TwoBackbones])
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("explained", ["current", "prior"])
def test_the_map_is_of_the_explained_image(kind: type[Priors], name: str, explained: str) -> None:
    """The brightest cell of the joined map lay on the other image's finding."""
    model = seeded(kind, *BACKBONES[name]).eval()
    images = {"current": marked(4, 44), "prior": 3 * marked(44, 4)}
    images = {one: images[one] for one in sorted(images, key=lambda one: one != explained)}
    found = pellucid.explain(model, images, "hirescam", 0)
    kept: list[Tensor] = []
    (layer,) = found.layers
    hook = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    score = model(**images)[0, 0]
    hook.remove()
    own = kept[-1] if explained == "prior" else kept[0]
    (gradient,) = torch.autograd.grad(score, own)
    expected = (own * gradient).sum(dim=1)
    torch.testing.assert_close(found.attributions[0], expected.detach(), rtol=1e-5, atol=1e-7)
    if name == "own":  # zero where the image is
        assert bool(found.attributions[0, 0].any())
        assert not found.attributions[0, 0][images[explained][0, 0, 2::4, 2::4] == 0].any()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_joined_layer_that_is_named_is_warned_of_and_the_remedy_works(name: str) -> None:
    model = seeded(Priors, *BACKBONES[name]).eval()
    images = {"current": torch.rand(1, 3, 64, 64), "prior": torch.rand(1, 3, 64, 64), "age": torch.rand(1, 1)}
    with pytest.warns(PellucidWarning, match=r"'join' depends on 'prior', too, .* take layers=\['backbone") as caught:
        pellucid.explain(model, images, layers=["join"])
    named = str(caught[0].message).partition("layers=['")[2].removesuffix("']")
    pellucid.explain(model, images, layers=[named])


def test_images_that_are_joined_as_channels_have_no_layer_of_their_own() -> None:
    model, images = seeded(Early).eval(), {"t1": torch.rand(1, 3, 64, 64), "t2": torch.rand(1, 3, 64, 64)}
    with pytest.warns(PellucidWarning, match="depends on 't2', too, .* looks at no layer, such as occlusion"):
        pellucid.explain(model, images)
    assert pellucid.explain(model, images, "saliency").heatmaps.shape == (1, 1, 64, 64)


@pytest.mark.parametrize("joining", [torch.cat, torch.stack])
def test_entries_of_one_batch_are_of_one_image_each(joining: Callable[[list[Tensor]], Tensor]) -> None:
    class AsBatch(Priors):
        def forward(self, current: Tensor, prior: Tensor, age: Tensor | None = None) -> Tensor:
            both = joining([current, prior])
            one, other = self.backbone(both if both.ndim == 4 else both.flatten(0, 1)).chunk(2)
            return self.fc(torch.cat([one, other], dim=1).mean((2, 3))[:, :8])

    model = seeded(AsBatch, *BACKBONES["own"]).eval()
    found = pellucid.explain(model, {"current": torch.rand(2, 3, 64, 64), "prior": torch.rand(2, 3, 64, 64)})
    assert found.layers == ("backbone.1",)
