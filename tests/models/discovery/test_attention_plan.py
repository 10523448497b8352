"""Which attention is taken: over the whole image, of the last grid; and that what pools the tokens is put first."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.models.cait import Cait
from timm.models.crossvit import CrossVit
from timm.models.tnt import TNT
from timm.models.vision_transformer import ParallelThingsBlock, VisionTransformer
from timm.models.xcit import Xcit
from torch import Tensor, nn

import pellucid
from pellucid.errors import NoAttentionError
from pellucid.models.discovery.attention_plan import Call, planned
from pellucid.models.discovery.tokens import Grids
from tests.memory import peak
from tests.networks import TinyViT, images, seeded

GRIDS = Grids(
    (224, 224),
    (
        (56, 56),
        (28, 28),
        (14, 14),
        (7, 7),
    ),
)


def calls(*shapes: tuple[int, int, int, int]) -> list[Call]:
    return [Call(number, (f"blocks.{number}",), shape, True) for number, shape in enumerate(shapes)]


def square(tokens: int, sequences: int = 1) -> tuple[int, int, int, int]:
    return (sequences, 3, tokens, tokens)


@pytest.mark.parametrize(
    ("shapes", "taken", "tokens", "prefix", "grid"),
    [
        ([square(197)] * 3, [0, 1, 2], 197, 1, (14, 14)),
        ([square(201)] * 2, [0, 1], 201, 5, (14, 14)),
        ([square(196)] * 2, [0, 1], 196, 0, (14, 14)),
        ([square(196), square(196), square(49), square(49)], [2, 3], 49, 0, (7, 7)),  # stages
        ([(1, 1, 3136, 49), (1, 2, 784, 49), square(49)], [2], 49, 0, (7, 7)),  # merged keys before
        ([square(196), (1, 4, 49, 196), square(49)], [2], 49, 0, (7, 7)),  # queries of the next grid
        ([square(16, 196), square(197)] * 2, [1, 3], 197, 1, (14, 14)),  # within patches
        ([square(196), square(196), square(197)], [0, 1, 2], 197, 1, (14, 14)),  # a class token comes late
        ([square(196), (1, 4, 1, 197), (1, 4, 1, 197)], [0, 1, 2], 197, 1, (14, 14)),  # class attention
        ([square(196), (1, 4, 1, 196)], [0, 1], 197, 1, (14, 14)),  # a latent query
        ([(1, 4, 1, 49)], [0], 50, 1, (7, 7)),
        ([(1, 4, 1, 50)], [0], 50, 1, (7, 7)),
        ([square(32), square(32), (1, 4, 1, 785)], [2], 785, 1, (28, 28)),  # attention over channels
    ],
)
def test_what_is_taken(shapes, taken, tokens, prefix, grid) -> None:
    plan = planned(calls(*shapes), GRIDS)
    assert [call.number for call in plan.calls] == taken
    assert (plan.tokens, plan.layout.prefix, plan.layout.grid) == (tokens, prefix, grid)
    assert bool(plan.pools) == (shapes[taken[-1]][2] == 1)
    for call in plan.calls:
        weights = torch.rand(2, *call.shape[1:])
        whole = plan.whole([weights], 2)
        assert whole.shape == (2, call.shape[1], tokens, tokens)
        rows = slice(0, 1) if call.is_pool else slice(tokens - call.shape[2], None)
        torch.testing.assert_close(whole[:, :, rows, tokens - call.shape[3] :], weights)
        torch.testing.assert_close(whole.sum(), weights.sum())


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([], "No attention maps captured"),
        ([square(49, 64), square(49, 16), square(49)], r"within windows \(64 of 49 tokens\)"),
        ([square(13)], "13 tokens or channels was found; they lie on no grid"),
        ([(1, 1, 3136, 49), (1, 2, 784, 49)], r"merged of several \(784 to 49\)"),
        ([square(401), square(197), square(401), square(197)], r"in turn \(of 401, 197\)"),
        ([square(197), (1, 3, 196, 49), square(197)], "in turn"),
        ([square(197), (1, 3, 1, 197), square(197)], "in turn"),
        ([square(197), (1, 3, 1, 50)], r"looks at \[50\] of them"),
    ],
)
def test_what_is_refused(shapes, text) -> None:
    grids = (
        Grids(
            (240, 240),
            (
                (20, 20),
                (14, 14),
                (7, 7),
            ),
        )
        if (1, 3, 401, 401) in shapes
        else GRIDS
    )
    with pytest.raises(NoAttentionError, match=text) as caught:
        planned(calls(*shapes), grids)
    assert "gradcam" in str(caught.value)


def still(build) -> nn.Module:
    """A network whose attention differs between places."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ("attn" in name or "head" in name or "latent" in name):
                nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    return model.eval()


def weights_of(model: nn.Module, image: Tensor) -> list[Tensor]:
    """A copy's attention (Q, K), the mean over the heads, from what leaves its dropout."""
    model, kept = copy.deepcopy(model), []
    for name, module in model.named_modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if name.endswith("attn_drop"):
            module.register_forward_hook(lambda _m, _i, weights: kept.append(weights[0].mean(0)))
    with torch.no_grad():
        model(image)
    return kept


def stepped(weights: Tensor, product: Tensor) -> Tensor:
    return (weights + torch.eye(len(weights))) / (weights.sum(1, keepdim=True) + 1) @ product


def test_class_attention_carries_the_patches_own_rollout() -> None:
    model = still(lambda: Cait(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=3))
    *patches, first, second = weights_of(model, images(1))
    product = torch.eye(16)
    for weights in patches:
        assert (weights.sum(1) - 1).abs().max() > 1e-3, "the heads are mixed after the softmax"
        product = stepped(weights, product)
    token = torch.zeros(17)
    token[0] = 1
    for weights in (second, first):
        looked = torch.cat([weights + token[None] * 0, torch.zeros(16, 17)])
        token = token @ stepped(looked, torch.eye(17))
    found = pellucid.explain(model, images(1), method="rollout").attributions
    torch.testing.assert_close(found.flatten(), token[1:] @ product, rtol=1e-4, atol=1e-6)
    alone = pellucid.explain(model, images(1), method="attention").attributions
    torch.testing.assert_close(alone.flatten(), second[0, 1:], rtol=1e-4, atol=1e-6)


def test_a_latent_query_carries_the_patches_own_rollout() -> None:
    model = still(
        lambda: VisionTransformer(
            img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, class_token=False, global_pool="map"
        )
    )
    product = torch.eye(16)
    for weights in weights_of(model, images(1)):
        product = stepped(weights, product)
    pool = model.attn_pool
    kept = []
    pool.kv.register_forward_hook(lambda _m, _i, kv: kept.append(kv[0].reshape(16, 2, 2, 12)[:, 0]))
    with torch.no_grad():
        model(images(1))
        queries = pool.q(pool.latent)[0].reshape(2, 12)
        looked = (torch.einsum("hd,thd->ht", queries, kept[0]) / 12**0.5).softmax(-1).mean(0)
    found = pellucid.explain(model, images(1), method="rollout").attributions
    torch.testing.assert_close(found.flatten(), looked / 2 @ product, rtol=1e-4, atol=1e-6)


SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 3}
OTHERS = {
    "cait": (lambda: Cait(img_size=32, patch_size=8, **SMALL), 32, (4, 4)),
    "xcit": (lambda: Xcit(img_size=64, patch_size=16, **{**SMALL, "embed_dim": 32}), 64, (4, 4)),
    "tnt": (lambda: TNT(img_size=64, inner_dim=8, embed_dim=32, depth=2, num_heads_outer=2, num_classes=3), 64, (4, 4)),
    "coatnet": (lambda: timm.create_model("test_coatnet", num_classes=3), 160, (5, 5)),
    "pit": (lambda: timm.create_model("pit_ti_224", num_classes=3), 224, (7, 7)),
}


@pytest.mark.parametrize("method", ["attention", "rollout", "gradient_rollout", "legrad"])
@pytest.mark.parametrize("name", OTHERS)
def test_networks_with_other_tokens_than_a_vits(method: str, name: str) -> None:
    build, side, grid = OTHERS[name]
    model, batch = still(build), images(2, side=side)
    if method == "legrad" and name in ("coatnet", "tnt"):  # their blocks do not answer as they are asked
        with pytest.raises(NoAttentionError, match="use gradient_rollout"):
            pellucid.explain(model, batch, method=method)
        return
    found = pellucid.explain(model, batch, method=method, targets="all")
    assert found.attributions.shape == (2, 3, *grid)
    assert not found.degenerate.any()
    for index in range(2):
        alone = pellucid.explain(model, batch[index : index + 1], method=method, targets="all")
        torch.testing.assert_close(found.attributions[index], alone.attributions[0], rtol=1e-4, atol=1e-7)


def test_two_branches_are_refused_with_a_remedy() -> None:
    model = CrossVit(img_size=240, embed_dim=(16, 32), depth=((1, 1, 0),) * 2, num_heads=(2, 2), mlp_ratio=(1, 1, 1))
    with pytest.raises(NoAttentionError, match=r"in turn.*gradcam"):
        pellucid.explain(model, images(1, side=240), method="rollout")


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
            x, product = block(x), stepped(weights, product)
    torch.testing.assert_close(found.flatten(), product[1:, 1:].mean(0), rtol=1e-4, atol=1e-6)


# Attention that is computed in other ways, on networks that are the same otherwise.


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


# Where the patches are among the tokens.


class Behind(TinyViT):
    """The class token, and registers, behind the patches."""

    def embed(self, x: Tensor) -> Tensor:
        return torch.roll(super().embed(x), -self.prefix, dims=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.embed(x)))
        return self.head(x[:, -self.prefix])


class ByColumns(TinyViT):
    """The patches column by column."""

    def embed(self, x: Tensor) -> Tensor:
        tokens = super().embed(x)
        rows, columns = x.shape[2] // 8, x.shape[3] // 8
        patches = tokens[:, self.prefix :].unflatten(1, (rows, columns)).transpose(1, 2).flatten(1, 2)
        return torch.cat([tokens[:, : self.prefix], patches], dim=1)


EVERYWHERE = ["attention", "rollout", "gradient_rollout", "legrad", "gradcam", "hirescam", "scorecam", "fullgrad"]


@pytest.mark.parametrize("method", EVERYWHERE)
@pytest.mark.parametrize("prefix", [1, 3])
@pytest.mark.parametrize("kind", [Behind, ByColumns])
def test_patches_are_where_they_are(kind: type[nn.Module], prefix: int, method: str) -> None:
    """Attention does not ask in which order its tokens come: the maps are the same."""
    side = (32, 48)
    plain, other = (seeded(each, 2, 4, prefix, side) for each in (TinyViT, kind))
    layers = {"layers": ["blocks.0"]} if "cam" in method else {}
    one, two = (
        pellucid.explain(model, images(2, side=side), method=method, targets="all", **layers)
        for model in (plain, other)
    )
    torch.testing.assert_close(one.attributions, two.attributions, rtol=1e-4, atol=1e-6)


def test_channels_are_no_tokens() -> None:
    """Attention over as many channels as a grid has cells and a few more (EdgeNeXt)."""
    grids = Grids(
        (256, 256),
        (
            (64, 64),
            (8, 8),
        ),
    )
    with pytest.raises(NoAttentionError, match="73 tokens or channels"):
        planned(calls(square(73)), grids, counts={64, 4096, 584})
    assert planned(calls(square(65)), grids, counts={64, 4096}).layout.prefix == 1


def test_a_few_windows_before_the_last_grid_are_let_be() -> None:
    windows, last = square(81, 64), square(196)
    assert len(planned(calls(windows, last, last), GRIDS).calls) == 2
    with pytest.raises(NoAttentionError, match="within windows"):
        planned(calls(windows, windows, last, last), GRIDS)
    with pytest.raises(NoAttentionError, match="within windows"):
        planned(calls(last, windows, last, last, last), GRIDS)
