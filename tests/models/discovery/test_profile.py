"""What one image's pass shows of a network."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.tnt import TNT

import pellucid
from pellucid.errors import LayerError
from tests.networks import TinyCNN, images, seeded


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
