"""The attention of a batch, folded block by block."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionTransformer

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoAttentionError
from pellucid.models.engine.attention_fold import AttentionFold
from pellucid.models.session.session import Session
from tests.memory import peak
from tests.networks import TinyCNN, TinyViT, images, seeded, still

SMALL = {"img_size": (64, 48), "patch_size": 16, "embed_dim": 24, "depth": 3, "num_heads": 2, "num_classes": 3}


TOKENS = {
    "class": lambda: VisionTransformer(**SMALL),
    "registers": lambda: VisionTransformer(**SMALL, reg_tokens=4),
    "registers without class": lambda: VisionTransformer(
        **SMALL, reg_tokens=2, class_token=False, global_pool="avg", fc_norm=False
    ),
    "distillation": lambda: VisionTransformerDistilled(**SMALL),
    "none": lambda: VisionTransformer(**SMALL, class_token=False, global_pool="avg"),
    "class and the mean of all": lambda: VisionTransformer(**SMALL, global_pool="avgmax"),
}


READ = {"class": [0], "registers": [0], "distillation": [0, 1]}
"""Off which tokens the scores are read; the mean of the patches otherwise."""


def sharpened(build) -> nn.Module:
    """Attention that differs between places, heads and blocks, as it does when trained; heads that are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for name, parameter in model.named_parameters():
            if "qkv" in name or "head" in name:
                nn.init.normal_(parameter, std=1.5 / SMALL["embed_dim"] ** 0.5)
    return model.eval()


def unfused(model: nn.Module, image: Tensor, blocks: int) -> tuple[Tensor, list[Tensor]]:
    """Logits of a copy of the model with so many blocks, and its attention, from what leaves its dropout."""
    model, kept = copy.deepcopy(model), []
    model.blocks = model.blocks[:blocks]
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, _i, weights: kept.append(weights))
    return model(image)[0], kept


def naive(method: str, model: nn.Module, image: Tensor, target: int) -> Tensor:
    """The row over all tokens, (T, T) before what is read is taken of it."""
    depth = len(model.blocks)
    logits, attention = unfused(model, image, depth)
    if method == "legrad":
        total = 0
        for blocks in range(1, depth + 1):
            logits, attention = unfused(model, image, blocks)
            total = total + torch.autograd.grad(logits[target], attention[-1])[0][0].clamp(min=0).mean((0, 1))
        return total
    product = eye = torch.eye(attention[0].shape[-1])
    gradients = torch.autograd.grad(logits[target], attention)
    for weights, gradient in zip(attention, gradients, strict=True):
        if method == "rollout":
            step = (weights[0].mean(0) + eye) / 2
        else:
            step = eye + (weights * gradient)[0].clamp(min=0).mean(0)
        product = step @ product
    return product - eye if method == "gradient_rollout" else product


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "legrad"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_equals_a_replica_on_an_unfused_copy(method: str, tokens: str) -> None:
    model, batch = sharpened(TOKENS[tokens]), images(2, side=(64, 48))
    assert any(getattr(module, "fused_attn", False) for module in model.modules())
    found = pellucid.explain(model, batch, method=method, targets=torch.tensor([[0, 2], [1, 2]])).attributions
    for image, maps, targets in zip(batch, found, ([0, 2], [1, 2]), strict=True):
        for target, values in zip(targets, maps, strict=True):
            expected = naive(method, model, image[None], target).detach()
            patches = slice(expected.shape[-1] - 12, None)
            if expected.ndim > 1:
                expected = expected[READ.get(tokens, patches)].mean(0)
            torch.testing.assert_close(values, expected[patches].reshape(4, 3), rtol=1e-4, atol=1e-7)
    assert all(getattr(module, "fused_attn", True) for module in model.modules())


def test_rollout_of_torchvisions_vit() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TorchvisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3
        ).train()
    batch = images(2)
    found = pellucid.explain(model, batch, method="rollout", targets="all")
    assert found.heatmaps.shape == (2, 3, 32, 32)
    assert found.layers == ()
    assert not found.degenerate.any()
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model.eval()(batch))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("method", ["attention", "rollout", "gradient_rollout", "legrad"])
def test_one_blocks_weights_are_held_at_a_time(method: str, fused: bool) -> None:
    """However deep the network is, and also where it computes its attention in steps."""

    def taken(depth: int) -> int:
        model = still(
            lambda: VisionTransformer(img_size=128, patch_size=8, embed_dim=16, depth=depth, num_heads=4, num_classes=3)
        )
        for block in model.blocks:
            block.attn.fused_attn = fused
        batch = images(1, side=128)
        pellucid.explain(model, batch, method=method)
        return peak(lambda: pellucid.explain(model, batch, method=method))

    one_blocks = 4 * 257 * 257 * 4
    assert (taken(10) - taken(2)) / 8 < 0.4 * one_blocks


def by_hand(model: nn.Module, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The logits of a TinyViT, and its attention computed in steps."""
    x, kept = model.embed(batch), []
    for block in model.blocks:
        q, k, v = block.split(block.norm1(x))
        kept.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1))
        x = x + block.proj((kept[-1] @ v).transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    return model.head(model.norm(x)[:, 0]), kept


def fold_of(model: nn.Module, batch: Tensor) -> AttentionFold:
    return AttentionFold.of(Session.of(model, Runtime()), Inputs.of(batch), graph=False)


def test_forward_the_first_block_comes_first() -> None:
    model, batch = seeded(TinyViT).eval(), images(2)

    def step(before: Tensor | None, attention: Tensor) -> Tensor:
        fused = attention.mean(1)
        return fused if before is None else 10 * before + fused

    with torch.no_grad():
        logits, (first, second) = by_hand(model, batch)
        found, scores = fold_of(model, batch).forward(step)
    torch.testing.assert_close(found, 10 * first.mean(1) + second.mean(1))
    torch.testing.assert_close(scores, logits)


def test_backward_the_last_block_comes_first_with_each_classs_gradient() -> None:
    model, batch = seeded(TinyViT).eval(), images(2)

    def step(before: Tensor | None, attention: Tensor, gradient: Tensor) -> Tensor:
        product = attention * gradient
        return product if before is None else 10 * before + product

    with torch.no_grad():
        found, scores = fold_of(model, batch).backward(step, Targets(torch.tensor([[0, 3], [2, 1]])))
    logits, (first, second) = by_hand(model, batch)
    for column, classes in enumerate([(0, 2), (3, 1)]):
        total = logits[[0, 1], classes].sum()
        one, two = torch.autograd.grad(total, [first, second], retain_graph=True)
        expected = (10 * two * second + one * first).detach()
        torch.testing.assert_close(found[:, column], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores.detach(), logits.detach())


def test_a_no_grad_of_the_networks_own_is_recorded_from_the_images() -> None:
    class Still(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.blocks(self.embed(x))
            return self.head(self.norm(x)[:, 0])

    def step(before: Tensor | None, _: Tensor, gradient: Tensor) -> Tensor:
        return gradient if before is None else before + gradient

    with torch.no_grad():
        plain, still = (fold_of(seeded(kind), images(1)).backward(step, Targets(1))[0] for kind in (TinyViT, Still))
    torch.testing.assert_close(still, plain)
    assert plain.any()


def test_where_no_gradient_arrives_the_remedy_is_told() -> None:
    class Cut(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.blocks(self.embed(x)).detach())[:, 0])

    with (
        torch.no_grad(),
        pytest.raises(GradientError, match=r"no gradient of the score reaches the attention.*rollout"),
    ):
        fold_of(seeded(Cut), images(1)).backward(lambda *read: read[-1], Targets(1))


def test_a_network_without_attention_has_nothing_to_fold() -> None:
    with pytest.raises(NoAttentionError):
        fold_of(seeded(TinyCNN), images(1))
