"""How attention calls depend on one another, and off which tokens the scores are read."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelThingsBlock, VisionTransformer
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import NoAttentionError
from pellucid.models.discovery.attention_dependence import plan_of, tokens_read
from pellucid.models.discovery.attention_plan import intercepted
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import Block, TinyViT, images, seeded, still


def test_a_pool_that_no_score_depends_on_is_left_out() -> None:
    """As in transformers' SigLIP, whose classifier takes the mean of what its pooling gets."""

    class Idle(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.blocks(self.embed(x)))
            query = x.mean(dim=1, keepdim=True)
            (query @ x.transpose(1, 2)).softmax(-1) @ x
            return self.head(x.mean(dim=1))

    idle, plain = seeded(Idle, 2, 4, 0), seeded(TinyViT, 2, 4, 0)
    for method in ("attention", "rollout", "gradient_rollout", "legrad"):
        one, other = (pellucid.explain(model, images(2), method=method, targets="all") for model in (idle, plain))
        torch.testing.assert_close(one.attributions, other.attributions)


def test_what_is_read_is_asked_where_the_score_depends_on_it() -> None:
    """As in transformers' BEiT, whose model answers with tokens beside what its classifier takes of them."""

    class Inner(nn.Module):
        def __init__(self, network: TinyViT) -> None:
            super().__init__()
            self.network, self.prefix = network, network.prefix

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.network.norm(self.network.blocks(self.network.embed(x)))
            return x.clone(), x[:, self.prefix :].mean(dim=1)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            network = seeded(TinyViT, 2, 4, 1)
            self.inner, self.head = Inner(network), network.head

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.inner(x)[1])

    model = Outer().eval()
    found = pellucid.explain(model, images(1), method="rollout").attributions
    network = model.inner.network
    with torch.no_grad():
        x, product = network.embed(images(1)), torch.eye(17)
        for block in network.blocks:
            q, k, _ = block.split(block.norm1(x))
            weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(-1)[0].mean(0)
            x, product = block(x), (weights + torch.eye(17)) / 2 @ product
    torch.testing.assert_close(found.flatten(), product[1:, 1:].mean(0), rtol=1e-4, atol=1e-6)


class Heads(nn.Module):
    """A block's attention, each head by a module of its own."""

    class Head(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block, self.heads = block, nn.ModuleList(Heads.Head() for _ in range(block.heads))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        each = [head(q[:, h], k[:, h], v[:, h]) for h, head in enumerate(self.heads)]
        return torch.stack(each, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        x = x + block.proj(self.attend(*block.split(block.norm1(x))).transpose(1, 2).flatten(2))
        return x + block.mlp(block.norm2(x))


class Merged(Heads):
    """The heads as if they were images: (B · heads, T, T)."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        one, other, values = (t.flatten(0, 1) for t in (q, k, v))
        weights = torch.bmm(one, other.mT).mul(q.shape[-1] ** -0.5).softmax(-1)
        return torch.bmm(weights, values).view_as(q)


class Placed(Heads):
    """Positions have values of their own, too."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        places = torch.zeros(weights.shape[-1], weights.shape[-1], v.shape[-1])
        return weights @ v + torch.einsum("bhij,ijd->bhid", weights, places)


@pytest.mark.parametrize("kind", [Heads, Merged, Placed])
@pytest.mark.parametrize("method", ["attention", "rollout", "gradient_rollout", "legrad"])
def test_heads_that_are_computed_apart_are_the_heads_of_one(method: str, kind: type[nn.Module]) -> None:
    plain, apart = seeded(TinyViT), seeded(TinyViT)
    apart.blocks = nn.Sequential(*map(kind, apart.blocks))
    one, other = (pellucid.explain(model, images(2), method=method, targets="all") for model in (plain, apart))
    torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-4, atol=1e-7)


def beside(depth: int = 2) -> nn.Module:
    """timm's blocks with two attentions side by side."""
    return still(
        lambda: VisionTransformer(
            img_size=32,
            patch_size=8,
            embed_dim=24,
            depth=depth,
            num_heads=2,
            num_classes=3,
            block_fn=ParallelThingsBlock,
        )
    )


def test_attentions_side_by_side_are_one_with_more_heads() -> None:
    model, image = beside(), images(1)
    kept: list[Tensor] = []
    copied = copy.deepcopy(model)
    for name, module in copied.named_modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if name.endswith("attn_drop"):
            module.register_forward_hook(lambda _m, _i, weights: kept.append(weights))
    score = copied(image)[0, 1]
    assert len(kept) == 4
    gradients = torch.autograd.grad(score, kept)
    relevance = torch.eye(17)
    for first in (0, 2):
        both = torch.cat([kept[i][0] * gradients[i][0] for i in (first, first + 1)])
        relevance = relevance + both.relu().mean(0) @ relevance
    found = pellucid.explain(model, image, method="gradient_rollout", targets=1).attributions
    torch.testing.assert_close(found.flatten(), relevance[0, 1:].detach(), rtol=1e-4, atol=1e-7)
    pellucid.explain(model, image, method="legrad")  # a block holds both


def test_registers_are_not_taken_for_a_class_token() -> None:
    model = timm.create_model("vit_little_patch16_reg4_gap_256", img_size=64, depth=2, num_classes=3)
    found = pellucid.explain(model, images(1, side=64), method="rollout")
    pooled = copy.deepcopy(model)
    taken: list[Tensor] = []
    for block in pooled.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _m, args: taken.append(args[0]))
    with torch.no_grad():
        pooled.eval()(images(1, side=64))
    product = torch.eye(20)
    for attention in taken:
        rows = attention[0].mean(0) + torch.eye(20)
        product = rows / rows.sum(-1, keepdim=True) @ product
    torch.testing.assert_close(found.attributions[0, 0].flatten(), product[4:, 4:].mean(0))


def looked_into(model: nn.Module, count: int = 2) -> tuple[Session, Inputs]:
    return Session.of(model, Runtime()), Inputs.of(images(count))


def test_calls_that_follow_one_another_are_groups_of_their_own_and_heads_are_one() -> None:
    plain, apart = seeded(TinyViT), seeded(TinyViT)
    apart.blocks = nn.Sequential(*map(Heads, apart.blocks))
    numbers = [
        [[call.number for call in group] for group in plan_of(*looked_into(each)).groups] for each in (plain, apart)
    ]
    assert numbers == [[[0], [1]], [[0, 1, 2], [3, 4, 5]]]


def test_blocks_follow_one_another_also_where_no_gradient_leads() -> None:
    class Still(Block):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    model = seeded(TinyViT)
    for block in model.blocks:
        block.__class__ = Still
    assert len(plan_of(*looked_into(model)).groups) == 2


@pytest.mark.parametrize(("prefix", "read"), [(1, (0,)), (3, (0,)), (0, (0,))])
def test_what_is_read_is_the_class_token_or_the_patches(prefix: int, read: tuple[int, ...]) -> None:
    session, inputs = looked_into(seeded(TinyViT, 2, 4, prefix))
    assert tokens_read(session, inputs, plan_of(session, inputs).layout) == read


def test_two_tokens_and_the_patches_may_be_read() -> None:
    class Several(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.blocks(self.embed(x)))
            return self.head(x[:, 0] + x[:, 2] + x[:, 3:].mean(1))

    session, inputs = looked_into(seeded(Several, 2, 4, 3))
    assert tokens_read(session, inputs, plan_of(session, inputs).layout) == (0, 2, 3)


def test_the_wanted_calls_of_a_pass_are_given_and_no_others() -> None:
    session, inputs = looked_into(seeded(TinyViT))
    calls = profile_of(session, inputs).attention_calls
    taken: list[tuple[int, tuple[int, ...]]] = []
    with (
        torch.no_grad(),
        intercepted(calls, [calls[1]], 2, lambda call, attention: taken.append((call.number, attention.shape))),
    ):
        session.call(inputs)
    assert taken == [(1, (2, 3, 17, 17))]


def test_sequences_that_are_no_multiple_of_the_images_are_refused() -> None:
    session, inputs = looked_into(seeded(TinyViT))
    calls = profile_of(session, inputs).attention_calls
    with (
        torch.no_grad(),
        intercepted(calls, calls, 3, lambda *_: None),
        pytest.raises(NoAttentionError, match="3 images gave 2 sequences"),
    ):
        session.call(inputs)
