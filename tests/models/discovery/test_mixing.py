"""Networks whose scores of an image depend on the others in the batch: said, and right one image at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid import Runtime
from pellucid.core.inputs import Inputs
from pellucid.errors import PellucidWarning
from pellucid.models.discovery.mixing import mixing
from pellucid.models.session.session import Session

ALONE = Runtime(batch_size=1)


class Encoder(nn.Module):
    """A transformer over patches; with ``batch_first`` the wrong way round it attends over the images."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=batch_first)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.encoder(self.patches(x).flatten(2).transpose(1, 2))
        scores: Tensor = self.head(tokens.mean(1))
        return scores


class Standardised(nn.Module):
    """Scores that are divided by their size in the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x)
        return scores / (0.1 + scores.square().mean(0, keepdim=True))


class Centred(nn.Module):
    """Takes the mean of all that it is given from its input, and divides by its spread."""

    def __init__(self) -> None:
        super().__init__()
        self.network = timm.create_model("convnext_atto", num_classes=3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network((x - x.mean()) / x.std())
        return scores


class Noisy(nn.Module):
    """Draws numbers: the last of a batch of another size is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network(x)
        return scores + torch.rand(len(x))[-1]


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def without_statistics(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, track_running_stats=False)


MIXING: Sequence[Callable[[], nn.Module]] = (
    lambda: Encoder(batch_first=False),
    lambda: torchvision.models.resnet18(num_classes=3, norm_layer=without_statistics),
    Standardised,
    Centred,
)
HONEST: Sequence[Callable[[], nn.Module]] = (
    lambda: Encoder(batch_first=True),
    lambda: torchvision.models.resnet18(num_classes=3),
    lambda: torchvision.models.resnet18(num_classes=3).bfloat16(),
    lambda: timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=3),
    Noisy,
)


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


@pytest.mark.parametrize("make", MIXING)
def test_it_is_said_and_the_remedy_makes_each_map_that_of_its_image(make: Callable[[], nn.Module]) -> None:
    model, images = built(make), torch.randn(3, 3, 64, 64) * torch.tensor([0.5, 1, 4]).view(3, 1, 1, 1)
    with pytest.warns(PellucidWarning, match="depend on the other images of its batch .*batch_size=1"):
        together = pellucid.explain(model, images, "saliency", targets=0, head="softmax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pellucid.explain(model, images, "saliency", targets=0, head="softmax", runtime=ALONE)
        each = [
            pellucid.explain(model, one[None], "saliency", targets=0, head="softmax", runtime=ALONE) for one in images
        ]
    alone = torch.cat([one.attributions for one in each])
    torch.testing.assert_close(found.attributions, alone)
    assert (together.attributions - alone).abs().max() > 0.01 * alone.abs().max()


@pytest.mark.parametrize("make", MIXING)
def test_scores_of_changed_copies_are_those_of_each_alone(make: Callable[[], nn.Module]) -> None:
    model, image = built(make), torch.randn(1, 3, 64, 64)
    method = pellucid.methods.Occlusion(window=32, stride=32)
    found = pellucid.explain(model, image, method, targets=0, head="softmax", runtime=ALONE)
    with torch.no_grad():
        by_hand = float(model(image)[0, 0] - model(hidden(image))[0, 0])
    torch.testing.assert_close(float(found.attributions[0, 0, 5, 5]), by_hand, atol=1e-4, rtol=1e-3)


def hidden(image: Tensor) -> Tensor:
    """The image without its first quarter."""
    changed = image.clone()
    changed[:, :, :32, :32] = 0
    return changed


@pytest.mark.parametrize("make", HONEST)
def test_others_are_not_warned_of(make: Callable[[], nn.Module]) -> None:
    model = built(make)
    image = torch.zeros(1, 3, 64, 64, dtype=next(model.parameters()).dtype)
    assert mixing(Session.of(model, Runtime()), Inputs.of(image)) == 0.0


def test_it_is_measured_once() -> None:
    model, calls = built(small), []
    model.register_forward_pre_hook(lambda module, given: calls.append(len(given[0])))
    session, image = Session.of(model, Runtime()), Inputs.of(torch.zeros(1, 3, 64, 64))
    assert mixing(session, image) == mixing(session, image) == 0.0
    assert sum(calls) == 3


def test_scores_that_are_the_mean_of_the_batch_move_as_far_as_by_another_image() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Mean())
    found = mixing(Session.of(model, Runtime()), Inputs.of(torch.zeros(1, 3, 32, 32)))
    assert found == pytest.approx(1.0)  # both rows are the mean, and equally far from the first alone


class Mean(nn.Module):
    """The mean over the batch, for each image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0, keepdim=True).expand_as(x)


@pytest.mark.parametrize("count", [1, 2])
def test_a_large_image_is_given_beside_another_only_if_the_caller_does(count: int) -> None:
    model, calls = built(small), []
    model.register_forward_pre_hook(lambda module, given: calls.append(len(given[0])))
    mixing(Session.of(model, Runtime()), Inputs.of(torch.zeros(1, 3, 420, 420).expand(count, 3, 420, 420)))
    assert calls == ([] if count == 1 else [1, 2])
