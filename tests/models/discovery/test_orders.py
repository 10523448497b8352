"""Tokens that a network keeps in an order of its own are put where their patches are."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from pellucid.core.runtime import Runtime
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session


@pytest.mark.parametrize("layer", ["blocks.0", "blocks.1", "blocks.2", "blocks.3.norm1"])
def test_tokens_in_an_order_of_their_own_are_put_where_their_patches_are(layer: str) -> None:
    """Hiera's: what changes where the picture changes lies there, also before the last stage."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(
            "hiera_tiny_224", img_size=(128, 64), embed_dim=16, num_heads=1, stages=(1, 1, 1, 1), num_classes=3
        )
    model = model.eval()
    for part in model.modules():  # attention would spread the change
        if hasattr(part, "attn"):
            nn.init.zeros_(part.attn.proj.weight)
    dark, spot = torch.zeros(1, 3, 128, 64), torch.zeros(1, 3, 128, 64)
    spot[:, :, 64:96, 32:64] = 1
    one, other = Pass.of(Session.of(model, Runtime()), torch.cat([dark, spot]), [layer]).activations()[:, 0]
    change = (one - other).square().sum(0)
    rows, columns = change.shape
    assert divmod(int(change.argmax()), columns)[0] in range(rows // 2, 3 * rows // 4 + 1)
    assert divmod(int(change.argmax()), columns)[1] in range(columns // 2, columns)
