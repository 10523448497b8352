"""The deepest layer through which the score passes is chosen, and a set where no single layer has it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.layers import recommended
from pellucid.models.session.session import Session
from pellucid.phantom.models import cnn, swin, vit
from tests.networks import TinyCNN, TinyViT, images, seeded


class Folds(nn.Module):
    """The average of several networks."""

    def __init__(self, count: int = 5) -> None:
        super().__init__()
        self.folds = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
            for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([fold(x) for fold in self.folds]).mean(0)


class LocalAndGlobal(nn.Module):
    """A branch that sees the whole image, and one that sees its middle."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.middle = (nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU()) for _ in range(2))
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.whole(x).mean((2, 3)), self.middle(x[..., 8:24, 8:24]).mean((2, 3))]
        return self.fc(torch.cat(parts, dim=1))


def chosen(model: nn.Module, batch: Tensor) -> tuple[str, ...]:
    return recommended(Session.of(model.eval(), Runtime()), Inputs.of(batch))


@pytest.mark.parametrize(
    ("build", "layer"), [(cnn, "network.layer4"), (vit, "network.blocks.2.norm1"), (swin, "network.norm")]
)
def test_of_trained_networks_the_deepest_layer_with_the_whole_score(build: type[nn.Module], layer: str) -> None:
    assert chosen(build(), torch.rand(1, 1, 128, 128)) == (layer,)


def test_it_is_the_same_whichever_image_comes_first() -> None:
    choices = {chosen(vit(), batch) for batch in (torch.zeros(1, 1, 128, 128), torch.rand(1, 1, 128, 128) * 9)}
    assert len(choices) == 1


@pytest.mark.parametrize("count", [3, 5])
def test_of_an_ensemble_a_layer_in_each_member(count: int) -> None:
    assert chosen(seeded(Folds, count), images(1)) == tuple(f"folds.{index}.1" for index in range(count))


def test_of_an_ensemble_of_published_networks_a_layer_in_each() -> None:
    from torchvision.models import mobilenet_v2

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = mobilenet_v2(num_classes=3), mobilenet_v2(num_classes=3)

        def forward(self, x: Tensor) -> Tensor:
            return (self.one(x) + self.two(x)) / 2

    torch.manual_seed(0)
    assert chosen(Pair(), images(1, side=64)) == ("one.features.18", "two.features")


def test_where_scores_do_not_move_what_depends_on_what_decides() -> None:
    model = seeded(Folds, 3)
    for fold in model.folds:
        fold[4].weight.data.mul_(1e-7)
    assert chosen(model, images(1)) == tuple(f"folds.{index}.1" for index in range(3))


def test_of_a_whole_and_a_local_branch_both() -> None:
    assert chosen(seeded(LocalAndGlobal), images(1)) == ("whole.1", "middle")


def test_the_maps_of_a_found_set_are_added() -> None:
    """HiResCAM of an average over folds, where pooling and one linear layer follow, by hand to 1e-6."""
    model, batch = seeded(Folds).eval(), images(2)
    found = pellucid.explain(model, batch, "hirescam", targets=1)
    right = torch.zeros(2, 8, 8)
    for fold in model.folds:
        activations = fold[1](fold[0](batch)).detach()
        weights = fold[4].weight[1] / (activations[0, 0].numel() * len(model.folds))
        right += torch.einsum("bchw,c->bhw", activations, weights.detach())
    expected = nn.functional.interpolate(right[:, None], (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.attributions, expected, atol=1e-6, rtol=1e-5)
    assert found.layers == tuple(f"folds.{index}.1" for index in range(5))
    assert found.provenance["fuse"] == "sum"


def test_a_network_whose_scores_go_through_its_class_token_keeps_a_layer_with_patches() -> None:
    (layer,) = chosen(seeded(TinyViT), images(1))
    assert layer in ("patch", "blocks.0", "blocks.1.norm1", "blocks.0.norm1")


def test_chains_keep_their_last_layer() -> None:
    assert chosen(seeded(TinyCNN), images(1)) == ("features.4",)


def test_the_choice_follows_the_weights() -> None:
    class Weighed(LocalAndGlobal):
        def __init__(self) -> None:
            super().__init__()
            self.fc.weight.data[:, 6:] = 0  # the middle says nothing yet

    model, batch = seeded(Weighed), images(1)
    assert chosen(model, batch) == ("whole.1",)
    with torch.no_grad():
        model.fc.weight[:, 6:] = model.fc.weight[:, :6]
    assert chosen(model, batch) == ("whole.1", "middle")
