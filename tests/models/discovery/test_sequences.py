"""When an axis of the input counts images, and when it counts channels or slices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
)

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.places import places_of
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.sequences import form_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from tests.networks import seeded


class Applied(nn.Module):
    """Some convolutions, applied in some way, and the mean of everything."""

    def __init__(self, run: Callable[[nn.ModuleList, Tensor], Tensor], *convolutions: nn.Module) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.run = run
        self.fc = nn.Linear(1, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.run(self.convolutions, x)
        return self.fc(maps.reshape(len(x), -1).mean(1, keepdim=True))


def conv(channels: int) -> nn.Module:
    return nn.Conv2d(channels, 4, 3, 2)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "channels": (lambda: Applied(lambda c, x: c[0](x), conv(4)), (4, 16, 16), "images"),
    "slices as a batch": (lambda: Applied(lambda c, x: c[0](x.flatten(0, 1)[:, None]), conv(1)), (4, 16, 16), "stack"),
    "three slices of three channels": (
        lambda: Applied(lambda c, x: c[0](x.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)), conv(3)),
        (3, 16, 16),
        "stack",
    ),
    "three slices in a loop": (
        lambda: Applied(
            lambda c, x: torch.stack([c[0](x[:, i, None].repeat(1, 3, 1, 1)) for i in range(3)], 1), conv(3)
        ),
        (3, 16, 16),
        "stack",
    ),
    "colours that are normalised": (
        lambda: Applied(lambda c, x: c[0]((x - 0.5) / x.std()), conv(3)),
        (3, 16, 16),
        "images",
    ),
    "slices in a loop": (
        lambda: Applied(lambda c, x: torch.stack([c[0](x[:, i, None]) for i in range(4)], 1), conv(1)),
        (4, 16, 16),
        "stack",
    ),
    "a convolution each": (
        lambda: Applied(
            lambda c, x: torch.stack([c[i](x[:, i, None]) for i in range(4)], 1), *(conv(1) for _ in range(4))
        ),
        (4, 16, 16),
        "images",
    ),
    "one channel used": (lambda: Applied(lambda c, x: c[0](x[:, :1]), conv(1)), (3, 16, 16), "images"),
    "windows of three slices": (
        lambda: Applied(lambda c, x: torch.stack([c[0](x[:, i : i + 3]) for i in range(3)], 1), conv(3)),
        (5, 16, 16),
        "images",
    ),
    "views": (lambda: Applied(lambda c, x: c[0](x.flatten(0, 1)), conv(3)), (4, 3, 16, 16), "sequence"),
    "views that are mirrored": (
        lambda: Applied(lambda c, x: c[0](x.flip(4).transpose(0, 1).flatten(0, 1)), conv(3)),
        (4, 3, 16, 16),
        "sequence",
    ),
    "a convolution for each view": (
        lambda: Applied(lambda c, x: torch.stack([c[i](x[:, i]) for i in range(2)], 1), conv(3), conv(3)),
        (2, 3, 16, 16),
        "sequence",
    ),
    "slices of a volume": (
        lambda: Applied(lambda c, x: c[0](x.transpose(1, 2).flatten(0, 1)), conv(1)),
        (1, 4, 16, 16),
        "images",
    ),
    "a volume": (lambda: Applied(lambda c, x: c[0](x), nn.Conv3d(2, 4, 3, 2)), (2, 8, 16, 16), "images"),
    "frames before channels": (
        lambda: Applied(lambda c, x: c[0](x.transpose(1, 2)), nn.Conv3d(3, 4, 3, 2)),
        (8, 3, 16, 16),
        "sequence",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_first_axis_counts(name: str) -> None:
    build, shape, expected = CASES[name]
    images = torch.rand(1, *shape)
    assert form_of(Session.of(seeded(build).eval(), Runtime()), Inputs.of(images)) == expected


def test_it_does_not_depend_on_the_image_and_changes_nothing() -> None:
    build, shape, _ = CASES["views"]
    model, images = seeded(build).eval(), torch.zeros(2, *shape)
    before = images.clone()
    assert form_of(Session.of(model, Runtime()), Inputs.of(images[:1])) == "sequence"
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in model.parameters())


class Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.network(pixel_values=pixel_values).logits


SMALL = {
    "image_size": 32,
    "num_frames": 4,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": 3,
}
VIDEO = {
    "TimeSformer": lambda: TimesformerForVideoClassification(TimesformerConfig(patch_size=8, **SMALL)),
    "VideoMAE": lambda: VideoMAEForVideoClassification(VideoMAEConfig(patch_size=8, tubelet_size=2, **SMALL)),
}


@pytest.mark.parametrize("name", VIDEO)
def test_published_networks_of_frames(name: str) -> None:
    """(B, T, C, H, W): a change in one frame is explained in this frame, at its place."""
    model = Logits(seeded(VIDEO[name])).eval()
    video = torch.rand(2, 4, 3, 32, 32)
    found = pellucid.explain(model, video, "hirescam", 0)
    assert found.is_sequence
    assert found.heatmaps.shape == (2, 1, 4, 32, 32)
    layer = {"TimeSformer": "network.timesformer.embeddings", "VideoMAE": "network.videomae.embeddings"}[name]

    def output(images: Tensor) -> Tensor:
        inputs = Inputs.of(images).in_form("sequence")
        places = places_of(session, profile_of(session, inputs), layer)
        return torch.stack([Pass.of(session, inputs, [str(place.occurrence)]).activations()[0, 0] for place in places])

    session = Session.of(model, Runtime())
    for frame, row, column in ((0, 0, 3), (3, 2, 1)):
        changed = video.clone()
        changed[:, frame, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 3
        change = (output(changed) - output(video)).abs().sum((0, 1))
        peak = torch.tensor(torch.unravel_index(change.argmax(), change.shape))
        cell = torch.tensor(change.shape) * torch.tensor([frame, row, column]) // torch.tensor([4, 4, 4])
        assert torch.equal(peak, cell)
