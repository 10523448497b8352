"""What one image's pass shows of a network."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.tnt import TNT
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError, SourceError
from pellucid.models.discovery.profile import (
    in_network_order,
    is_of_last_axis,
    last_features,
    layout_of,
    one_image_layout,
    profile_of,
)
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, images, seeded


def test_convolutions_within_patches_make_no_grid_of_the_picture() -> None:
    """As in TNT, at the size where it is not alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TNT(img_size=96, inner_dim=8, embed_dim=32, depth=2, num_heads_outer=2, num_classes=3)
    found = pellucid.explain(model, images(1, side=96), targets="all")
    assert found.attributions.shape == (1, 3, 6, 6)
    assert found.layers == ("blocks.1.norm_out",)


def test_windows_and_attention_are_no_layers_to_explain() -> None:
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, window_size=7, depths=(1, 1), num_heads=(1, 2)
    )
    with pytest.raises(LayerError, match=r"layers.0.blocks.0.attn.*no spatial positions"):
        pellucid.explain(swin, images(1, side=56), layers=["layers.0.blocks.0.attn"])
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2)
    for block in vit.blocks:
        block.attn.fused_attn = False
    with pytest.raises(LayerError, match=r"attn_drop.*no spatial positions"):
        pellucid.explain(vit, images(1, side=64), layers=["blocks.1.attn.attn_drop"])


def test_a_convolution_over_channels_is_no_picture() -> None:
    model = timm.create_model("ecaresnet26t")  # its attention over channels is a Conv1d
    assert pellucid.recommended_layers(model, (64, 64)) == ["layer4"]


def test_a_layer_without_places_is_an_error() -> None:
    with pytest.raises(LayerError, match=r"'fc' was asked for; its output .* has no spatial positions"):
        pellucid.explain(seeded(TinyCNN), images(1), layers=["fc"])


def looked_into(model: nn.Module, count: int = 2) -> tuple[Session, Inputs]:
    return Session.of(model, Runtime()), Inputs.of(images(count))


def test_a_convolutional_networks_shapes_and_order() -> None:
    session, inputs = looked_into(seeded(TinyCNN))
    profile = profile_of(session, inputs)
    assert (profile.channels, profile.output_shape, profile.first_convolution) == (3, (1, 4), "features.0")
    assert profile.shapes["features.0"] == (1, 8, 16, 16)
    assert profile.shapes["features"] == (1, 12, 8, 8)
    assert list(profile.shapes)[-3:] == ["dropout", "fc", ""]
    assert {len(runs) for runs in profile.runs.values()} == {1}
    assert profile.grids.made == ((16, 16), (8, 8))
    assert profile.counts >= {256, 64}
    assert (profile.attention_calls, profile.branches, profile.has_tokens_first) == ((), frozenset(), False)
    assert in_network_order(session, inputs, ["fc", "features", "features.0"]) == ("features.0", "features", "fc")


def test_a_transformers_attention_calls_and_tokens() -> None:
    session, inputs = looked_into(seeded(TinyViT))
    profile = profile_of(session, inputs)
    assert [call.modules for call in profile.attention_calls] == [("", "blocks", f"blocks.{n}") for n in (0, 1)]
    assert [(call.shape, call.fused) for call in profile.attention_calls] == [((1, 3, 17, 17), True)] * 2
    layout = profile.layout("blocks.0", session.modules(["blocks.0"])["blocks.0"])
    assert (layout.kind, layout.grid, layout.prefix) == ("tokens", (4, 4), 1)


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


def test_a_profile_is_found_once_for_a_shape() -> None:
    session, inputs = looked_into(seeded(TinyCNN))
    assert profile_of(session, inputs) is profile_of(session, Inputs.of(images(3) + 1))
    other = profile_of(session, Inputs.of(images(1, side=16)))
    assert other.shapes["features"] == (1, 12, 4, 4)


def test_layouts_are_of_the_shape_that_came() -> None:
    session, inputs = looked_into(seeded(TinyCNN))
    assert layout_of(session, inputs, "features", (2, 12, 8, 8)).grid == (8, 8)
    assert one_image_layout(session, inputs, "fc") == (None, (1, 4))
    with pytest.raises(LayerError, match=r"'features' was asked for; its output \(4, 12, 8, 8\)"):
        layout_of(session, inputs, "features", (4, 12, 8, 8))


def test_how_many_features_the_last_axis_has_is_the_last_layers_word() -> None:
    both = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU())
    assert (last_features(both), last_features(nn.Conv2d(1, 2, 3))) == (9, None)
    assert (is_of_last_axis(both[0]), is_of_last_axis(both[1]), is_of_last_axis(both)) == (True, True, False)


@pytest.mark.filterwarnings("ignore:.torch.jit")  # torch's own, that TorchScript is deprecated
def test_torchscript_cannot_be_looked_into() -> None:
    script = torch.jit.trace(seeded(TinyCNN).eval(), images(1))
    with pytest.raises(SourceError, match="its layers cannot be looked into"):
        profile_of(*looked_into(script))
