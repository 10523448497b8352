"""Scores that are read off after each block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import NoAttentionError
from pellucid.models.engine.attention_fold import AttentionFold
from pellucid.models.engine.early_exit import EarlyExit
from pellucid.models.session.session import Session
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


def gradient_read_off(model: nn.Module, batch: Tensor, blocks: int, classes: list[int]) -> Tensor:
    """The gradient at the last attention of a network of so many blocks, computed in steps."""
    x = model.embed(batch)
    for block in model.blocks[: blocks - 1]:
        x = block(x)
    block = model.blocks[blocks - 1]
    q, k, v = block.split(block.norm1(x))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    x = x + block.proj((weights @ v).transpose(1, 2).flatten(2))
    x = x + block.mlp(block.norm2(x))
    logits = model.head(model.norm(x)[:, 0])
    return torch.autograd.grad(logits[range(len(batch)), classes].sum(), weights)[0]


def folded(model: nn.Module, batch: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    def step(before: Tensor | None, _: Tensor, gradient: Tensor) -> Tensor:
        return gradient if before is None else 10 * before + gradient

    fold = AttentionFold.of(Session.of(model, Runtime()), Inputs.of(batch), graph=False)
    with torch.no_grad():
        return EarlyExit(fold).folded(step, targets)


def test_each_blocks_gradient_is_that_of_a_network_that_ends_there() -> None:
    model, batch = seeded(TinyViT).eval(), images(2)
    found, logits = folded(model, batch, Targets(torch.tensor([[0, 3], [2, 1]])))
    for column, classes in enumerate([[0, 2], [3, 1]]):
        first, second = (gradient_read_off(model, batch, blocks, classes) for blocks in (1, 2))
        torch.testing.assert_close(found[:, column], 10 * first + second, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, model(batch).detach())


def test_the_class_is_the_whole_networks_prediction_at_every_block() -> None:
    model, batch = seeded(TinyViT).eval(), images(2)
    predicted = model(batch).argmax(1)
    one, _ = folded(model, batch, Targets("predicted"))
    other, _ = folded(model, batch, Targets(predicted))
    assert torch.equal(one, other)


def test_the_network_is_as_it_was_afterwards() -> None:
    model, batch = seeded(TinyViT).eval(), images(1)
    session = Session.of(model, Runtime())
    fold = AttentionFold.of(session, Inputs.of(batch), graph=False)
    with torch.no_grad():
        EarlyExit(fold).folded(lambda before, attention, gradient: gradient, Targets(0))
        torch.testing.assert_close(session.network(batch), model(batch))
    assert not any("forward" in vars(module) or module._forward_hooks for module in session.network.modules())


def test_a_pool_at_the_end_is_read_through_and_adds_its_own() -> None:
    class Pooled(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.blocks(self.embed(x)))
            pooled = F.scaled_dot_product_attention(x.mean(1)[:, None, None], x[:, None], x[:, None])
            return self.head(pooled[:, 0, 0])

    model, batch = seeded(Pooled, 2, 4, 0).eval(), images(1)
    seen: list[Tensor] = []

    def step(before: Tensor | None, attention: Tensor, gradient: Tensor) -> Tensor:
        seen.append(gradient)
        return gradient.sum((1, 2, 3))

    fold = AttentionFold.of(Session.of(model, Runtime()), Inputs.of(batch), graph=False)
    with torch.no_grad():
        EarlyExit(fold).folded(step, Targets(1))
    x = model.norm(model.blocks(model.embed(batch))).detach()
    weights = (x.mean(1, keepdim=True) @ x.mT / 24**0.5).softmax(-1).requires_grad_()
    (expected,) = torch.autograd.grad(model.head((weights @ x)[:, 0])[0, 1], weights)
    pools = [gradient for gradient in seen if gradient.shape[1] == 1]
    assert [gradient.shape[1] for gradient in seen].count(3) == 2
    torch.testing.assert_close(pools[0][0, 0, 0, 1:], expected[0, 0], rtol=1e-4, atol=1e-6)
