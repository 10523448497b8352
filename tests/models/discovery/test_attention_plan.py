"""Which attention is taken: over the whole image, of the last grid; and that what pools the tokens is put first."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.models.cait import Cait
from timm.models.crossvit import CrossVit
from timm.models.tnt import TNT
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import Xcit
from torch import Tensor, nn

import pellucid
from pellucid.errors import NoAttentionError
from pellucid.models.discovery.attention_plan import Call, planned
from pellucid.models.discovery.tokens import Grids
from tests.networks import TinyCNN, TinyViT, images, seeded, still

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


def test_a_model_without_attention_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(NoAttentionError, match=r"^No attention maps captured.*gradcam"):
        pellucid.explain(seeded(TinyCNN), images(1), method="rollout")


def test_attention_within_windows_is_an_error_that_names_the_remedy() -> None:
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, window_size=7, depths=(1, 1), num_heads=(1, 2)
    )
    with pytest.raises(NoAttentionError, match=r"windows.*gradcam"):
        pellucid.explain(model, images(1, side=56), method="rollout")


def test_tokens_that_lie_on_no_grid_are_an_error() -> None:
    class Pooled(TinyViT):
        def embed(self, x: Tensor) -> Tensor:
            return super().embed(x)[:, :13]  # 12 of 16 patches

    with pytest.raises(NoAttentionError, match=r"13 tokens.*lie on no grid"):
        pellucid.explain(seeded(Pooled), images(1), method="rollout")
