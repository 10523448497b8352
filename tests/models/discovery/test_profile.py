"""What one image's pass shows of a network."""

from __future__ import annotations

import timm
import torch
from timm.models.tnt import TNT
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.profile import is_of_last_axis, last_features
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import images, seeded


def test_convolutions_within_patches_make_no_grid_of_the_picture() -> None:
    """As in TNT, at the size where it is not alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TNT(img_size=96, inner_dim=8, embed_dim=32, depth=2, num_heads_outer=2, num_classes=3)
    found = pellucid.explain(model, images(1, side=96), targets="all")
    assert found.attributions.shape == (1, 3, 6, 6)
    assert found.layers == ("blocks.1.norm_out",)


def test_a_convolution_over_channels_is_no_picture() -> None:
    model = timm.create_model("ecaresnet26t")  # its attention over channels is a Conv1d
    assert pellucid.recommended_layers(model, (64, 64)) == ["layer4"]


def looked_into(model: nn.Module, count: int = 2) -> tuple[Session, Inputs]:
    return Session.of(model, Runtime()), Inputs.of(images(count))


def test_a_module_that_runs_twice_and_those_beside_one_another() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.left, self.right, self.twice = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = self.twice(self.left(x) + self.right(x))
            return self.fc(self.twice(x - 1).mean((2, 3)))

    profile = profile_of(*looked_into(seeded(Branches)))
    assert profile.branches == {"left", "right"}
    assert len(profile.runs["twice"]) == profile.runs_again("twice") == 2
    assert profile.counted("twice") == (2,)
    assert list(profile.shapes) == ["stem", "left", "right", "twice", "fc", ""]


def test_how_many_features_the_last_axis_has_is_the_last_layers_word() -> None:
    both = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU())
    assert (last_features(both), last_features(nn.Conv2d(1, 2, 3))) == (9, None)
    assert (is_of_last_axis(both[0]), is_of_last_axis(both[1]), is_of_last_axis(both)) == (True, True, False)
