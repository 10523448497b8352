"""Tokens that a network keeps in an order of its own are put where their patches are."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from pellucid.core.runtime import Runtime
from pellucid.models.discovery.orders import token_orders
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


class Rolling(nn.Module):
    """Keeps the tokens of a 2 × 2 window together, and states how they are put back."""

    schedule = {0: ([(2, 2)], (4, 2)), 1: ([], (2, 1))}  # noqa: RUF012  # as the networks have it

    def reroll(self, tokens: Tensor, step: int) -> Tensor:
        rows, columns = self.schedule[step][1]
        if step == 1:
            return tokens
        windows = tokens.reshape(1, rows // 2, columns // 2, 2, 2, -1)
        return windows.transpose(2, 3).reshape(1, rows * columns, -1)


def test_a_network_that_states_an_order_has_it_by_the_number_of_tokens() -> None:
    """The second window's upper tokens, 4 and 5, follow the first window's lower ones."""

    class Columns(Rolling):
        def reroll(self, tokens: Tensor, step: int) -> Tensor:
            return tokens.flip(1) if step == 0 else super().reroll(tokens, step)

    assert token_orders(nn.Sequential(Rolling())) == {8: (0, 1, 2, 3, 4, 5, 6, 7), 2: (0, 1)}
    assert token_orders(nn.Sequential(Columns())) == {8: (7, 6, 5, 4, 3, 2, 1, 0), 2: (0, 1)}


def test_the_schedule_may_be_the_rerolls_own() -> None:
    class Reroll(nn.Module):
        schedule = {0: ([], (1, 3))}  # noqa: RUF012

        def forward(self, tokens: Tensor, step: int) -> Tensor:
            return tokens[:, [2, 0, 1]]

    network = nn.Module()
    network.reroll = Reroll()
    assert token_orders(network) == {3: (2, 0, 1)}


def test_other_networks_state_none() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1))
    network.schedule = {0: 1}
    assert token_orders(network) == {}
