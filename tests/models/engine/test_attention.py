"""Attention is read right wherever it is computed: fused, masked, grouped, unfused, in torch's own module."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

import pellucid
from pellucid.errors import NoAttentionError
from pellucid.models.engine.attention import AttentionTap
from tests.networks import TinyCNN, TinyViT, images, seeded


def tapped(call) -> tuple[Tensor, list[Tensor]]:
    taken: list[Tensor] = []
    with AttentionTap(taken.append):
        result = call()
    return result, taken


def qkv(heads: int = 2, keys: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(3, h, n, 4, generator=generator) for h, n in ((4, 5), (heads, keys), (heads, keys)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": torch.tensor([[True, True, False, True, False]] * 5)},
        {"attn_mask": torch.linspace(-2, 2, 25).reshape(5, 5)},
        {"enable_gqa": True},
    ],
    ids=["plain", "scale", "causal", "bool mask", "float mask", "grouped"],
)
def test_fused_attention_gives_the_same_output_and_its_weights(options: dict[str, object]) -> None:
    q, k, v = qkv(heads=2 if "enable_gqa" in options else 4)
    expected = F.scaled_dot_product_attention(q, k, v, **options)
    found, taken = tapped(lambda: F.scaled_dot_product_attention(q, k, v, **options))
    torch.testing.assert_close(found, expected)
    (weights,) = taken
    assert weights.shape == (3, 4, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 5))
    torch.testing.assert_close(weights @ v.repeat_interleave(4 // v.shape[1], 1), expected)


def test_cross_attention_is_not_taken() -> None:
    q, k, v = qkv(heads=4, keys=7)
    found, taken = tapped(lambda: F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v))
    assert taken == []


@pytest.mark.parametrize("softmax", [F.softmax, torch.softmax, torch.Tensor.softmax, lambda x, dim: nn.Softmax(dim)(x)])
def test_unfused_attention_is_taken_once(softmax) -> None:
    scores = torch.randn(2, 3, 6, 6)
    found, taken = tapped(lambda: softmax(scores, dim=-1))
    assert len(taken) == 1
    torch.testing.assert_close(taken[0], found)


def test_a_softmax_that_is_no_attention_is_not_taken() -> None:
    assert tapped(lambda: torch.randn(2, 9).softmax(-1))[1] == []
    assert tapped(lambda: torch.randn(2, 3, 4, 4).softmax(1))[1] == []


@pytest.mark.parametrize("need_weights", [True, False])
def test_torchs_own_module_answers_as_it_was_asked(need_weights: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(3, 5, 8)
    expected = module(x, x, x, need_weights=need_weights)
    found, taken = tapped(lambda: module(x, x, x, need_weights=need_weights))
    torch.testing.assert_close(found[0], expected[0])
    if need_weights:
        torch.testing.assert_close(found[1], expected[1])
        torch.testing.assert_close(taken[0].mean(1), expected[1])
    else:
        assert found[1] is None
    assert [t.shape for t in taken] == [(3, 2, 5, 5)]


def test_rollout_of_timms_fused_vit_equals_the_unfused_ones() -> None:
    def vit() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return timm.create_model("vit_tiny_patch16_224", img_size=(64, 48), depth=3, num_classes=3)

    fused, unfused, batch = vit(), vit(), images(2, side=(64, 48))
    for module in unfused.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    assert any(getattr(module, "fused_attn", False) for module in fused.modules())
    one, other = (pellucid.explain(model, batch, method="rollout") for model in (fused, unfused))
    assert one.attributions.shape == (2, 1, 4, 3)
    torch.testing.assert_close(one.attributions, other.attributions)
    assert all(getattr(module, "fused_attn", True) for module in fused.modules())


def test_rollout_of_torchvisions_vit() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3
        ).train()
    batch = images(2)
    found = pellucid.explain(model, batch, method="rollout", targets="all")
    assert found.heatmaps.shape == (2, 3, 32, 32)
    assert found.layers == ()
    assert not found.degenerate.any()
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model.eval()(batch))


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
