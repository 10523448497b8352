"""Where the outputs of layers lie, and errors for those without places."""

from __future__ import annotations

import pytest
import timm
from torch import nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError
from pellucid.models.discovery.places import layout_of, one_image_layout
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, images, seeded


def looked_into(model: nn.Module, count: int = 2) -> tuple[Session, Inputs]:
    return Session.of(model, Runtime()), Inputs.of(images(count))


def test_a_layer_without_places_is_an_error() -> None:
    with pytest.raises(LayerError, match=r"'fc' was asked for; its output .* has no spatial positions"):
        pellucid.explain(seeded(TinyCNN), images(1), layers=["fc"])


def test_layouts_are_of_the_shape_that_came() -> None:
    session, inputs = looked_into(seeded(TinyCNN))
    profile = profile_of(session, inputs)
    assert layout_of(session, profile, "features", (2, 12, 8, 8), 2).grid == (8, 8)
    assert one_image_layout(session, profile, "fc") == (None, (1, 4))
    with pytest.raises(LayerError, match=r"'features' was asked for; its output \(4, 12, 8, 8\)"):
        layout_of(session, profile, "features", (4, 12, 8, 8), 2)


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
