"""Scores that are read off after each block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.errors import NoAttentionError
from tests.networks import TinyViT, images, seeded


def test_blocks_that_pass_on_a_tuple_and_get_their_tokens_by_name() -> None:
    class Named(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.inner = block

        def forward(self, flag: bool, hidden: Tensor) -> tuple[Tensor, None]:
            return (self.inner(hidden), None) if flag else (hidden, None)

    class Network(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            for block in self.blocks:
                x, _ = block(True, hidden=x)
            return self.head(self.norm(x)[:, 0])

    plain, named = seeded(TinyViT), seeded(Network)
    named.blocks = nn.ModuleList(map(Named, named.blocks))
    one, other = (pellucid.explain(model, images(2), method="legrad", targets="all") for model in (plain, named))
    torch.testing.assert_close(one.attributions, other.attributions)


def test_blocks_that_write_into_what_they_get() -> None:
    class Writing(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.inner = block

        def forward(self, x: Tensor) -> Tensor:
            read = x.clone()
            x += self.inner(read) - read
            return x

    plain, writing = seeded(TinyViT), seeded(TinyViT)
    writing.blocks = nn.Sequential(*map(Writing, writing.blocks))
    for method in ("legrad", "gradient_rollout", "rollout"):
        one, other = (pellucid.explain(model, images(2), method=method, targets="all") for model in (plain, writing))
        torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-4, atol=1e-7)


def test_branches_are_no_blocks_to_be_left_out() -> None:
    """Of a network that adds its residuals between the modules, no module passes on what it gets."""

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = seeded(TinyViT)
            self.branches = nn.ModuleList(nn.ModuleList([Branch(block), block.mlp]) for block in self.vit.blocks)
            self.vit.blocks = nn.Sequential()

        def forward(self, x: Tensor) -> Tensor:
            x = self.vit.embed(x)
            for attend, mlp in self.branches:
                x = x + attend(x)
                x = x + mlp(x)
            return self.vit.head(self.vit.norm(x)[:, 0])

    class Branch(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.block.split(self.block.norm1(x))
            return self.block.proj(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    with pytest.raises(NoAttentionError, match=r"alone and passes on its input tokens: use gradient_rollout"):
        pellucid.explain(Pairs(), images(1), method="legrad")
    assert not pellucid.explain(Pairs(), images(1), method="gradient_rollout").degenerate.any()
