"""Attention is read right wherever it is computed: fused, masked, grouped, unfused, in torch's own module."""

from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer as TorchvisionTransformer

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import NoAttentionError
from pellucid.models.discovery.profile import profile_of
from pellucid.models.engine import attention_gradients
from pellucid.models.session.attention_calls import WHOLE
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, images, seeded


def tapped(call) -> tuple[Tensor, list[Tensor]]:
    taken: list[Tensor] = []
    with AttentionMode(lambda _, one: taken.append(one.weights())):
        result = call()
    return result, taken


def watched(call) -> tuple[Tensor, list[Tensor]]:
    """What a call gives, and the gradients at its attention of what it gives, weighed by 1, 2, 3, …"""
    told: list[Tensor] = []

    def take(_: int, call) -> None:
        call.begin()
        call.watch(lambda read: told.append(read(WHOLE)))

    with torch.enable_grad():
        with AttentionMode(take):
            result = call()
        (result * torch.arange(result.numel()).reshape(result.shape)).sum().backward()
    return result.detach(), told


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
    with torch.no_grad():
        again, (gradient,) = watched(lambda: F.scaled_dot_product_attention(q, k, v, **options))
    torch.testing.assert_close(again, expected)
    slope = torch.arange(expected.numel()).reshape(expected.shape).float()
    torch.testing.assert_close(gradient, slope @ v.repeat_interleave(4 // v.shape[1], 1).transpose(2, 3))


def test_cross_attention_is_told_apart_by_its_shape() -> None:
    q, k, v = qkv(heads=4, keys=7)
    shapes = []
    with AttentionMode(lambda _, call: shapes.append(call.shape)):
        found = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v))
    assert shapes == [(3, 4, 5, 7)]


SOFTMAXES = [F.softmax, torch.softmax, torch.Tensor.softmax, lambda x, dim: nn.Softmax(dim)(x)]
USES = {
    "matmul": lambda a, v: a @ v,
    "transposed": lambda a, v: (v.transpose(2, 3) @ a.transpose(2, 3)).transpose(2, 3),
    "einsum": lambda a, v: torch.einsum("bhij,bhjd->bhid", a, v),
    "einsum of a list": lambda a, v: torch.einsum("bhij,bhjd->bhid", [a, v]),
    "dropout before": lambda a, v: nn.Dropout().eval()(a) @ v,
    "another type before": lambda a, v: torch.matmul(a.to(v.dtype), v),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("softmax", SOFTMAXES)
def test_unfused_attention_is_taken_once(softmax, use) -> None:
    _, _, v = qkv(heads=4)
    scores = torch.randn(3, 4, 5, 5)
    found, (weights,) = tapped(lambda: use(softmax(scores, dim=-1), v))
    torch.testing.assert_close(found, scores.softmax(-1) @ v)
    torch.testing.assert_close(weights, scores.softmax(-1))
    again, (gradient,) = watched(lambda: use(softmax(scores, dim=-1), v))
    torch.testing.assert_close(again, found)
    slope = torch.arange(found.numel()).reshape(found.shape).float()
    torch.testing.assert_close(gradient, slope @ v.transpose(2, 3))


def test_attention_without_an_axis_for_heads() -> None:
    scores, v = torch.randn(2, 6, 6), torch.randn(2, 6, 4)
    found, (weights,) = tapped(lambda: scores.softmax(-1) @ v)
    torch.testing.assert_close(found, scores.softmax(-1) @ v)
    torch.testing.assert_close(weights, scores.softmax(-1)[:, None])
    assert [gradient.shape for gradient in watched(lambda: scores.softmax(-1) @ v)[1]] == [(2, 1, 6, 6)]


def test_what_is_taken_is_what_weighs_the_values() -> None:
    """Heads that are mixed after the softmax (CaiT); two softmaxes of which a share each is taken (ConViT)."""
    one, two, v, mix = torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 4), torch.rand(3, 3)
    _, (talked,) = tapped(lambda: torch.einsum("gh,bhij->bgij", mix, one.softmax(-1)) @ v)
    torch.testing.assert_close(talked, torch.einsum("gh,bhij->bgij", mix, one.softmax(-1)))
    _, (shared,) = tapped(lambda: (0.25 * one.softmax(-1) + 0.75 * two.softmax(-1)) @ v)
    torch.testing.assert_close(shared, 0.25 * one.softmax(-1) + 0.75 * two.softmax(-1))


@pytest.mark.parametrize(
    ("equation", "axes"),
    [
        ("bhij,bhjd->bhid", (0, 1, 2, 3)),
        ("bihj,bjhd->bihd", (0, 2, 1, 3)),
        ("hbij,hbjd->hbid", (0, 1, 2, 3)),
        ("b h i j, b h j d -> b h i d", (0, 1, 2, 3)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_axes_are_those_of_the_equation(equation: str, axes: tuple[int, ...], turned: bool) -> None:
    letters = {"b": 2, "h": 3, "i": 5, "j": 5, "d": 4}
    inputs, output = equation.replace(" ", "").split("->")
    one, other = inputs.split(",")
    scores, v = (torch.randn([letters[axis] for axis in term]) for term in (one, other))
    expected = torch.einsum(equation, scores.softmax(-1), v)
    if turned:
        equation = f"{other},{one}->{output}"

    def call() -> Tensor:
        operands = [scores.softmax(-1), v]
        return torch.einsum(equation, *(reversed(operands) if turned else operands))

    found, (weights,) = tapped(call)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(weights, scores.softmax(-1).permute(axes))
    with torch.no_grad():
        _, (gradient,) = watched(call)
    assert gradient.shape == weights.shape


def test_a_product_that_is_no_attention_is_not_taken() -> None:
    scores = torch.randn(2, 3, 5, 5)
    assert tapped(lambda: torch.einsum("bhij,ijd->bhid", scores.softmax(-1), torch.randn(5, 5, 4)))[1] == []
    assert tapped(lambda: torch.einsum("bhij,bhij->bh", scores.softmax(-1), torch.randn(2, 3, 5, 5)))[1] == []


def test_weights_that_are_used_twice_have_the_gradient_of_both() -> None:
    """As where positions have values of their own."""
    scores, v, positions = torch.randn(2, 3, 5, 5), torch.randn(2, 3, 5, 4), torch.randn(5, 5, 4)

    def call() -> Tensor:
        weights = scores.softmax(-1)
        return weights @ v + torch.einsum("bhij,ijd->bhid", weights, positions)

    with torch.no_grad():
        found, (gradient,) = watched(call)
    slope = torch.arange(found.numel()).reshape(found.shape).float()
    torch.testing.assert_close(gradient, slope @ v.mT + torch.einsum("bhid,ijd->bhij", slope, positions))
    assert len(tapped(call)[1]) == 1


def test_queries_that_may_look_at_nothing() -> None:
    """Torch answers with zeros, whatever the weights would be; and so do we."""
    q, k, v = qkv(heads=4)
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[2] = False
    found, (weights,) = tapped(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(found, expected)
    assert found.isfinite().all()
    assert not weights[:, :, 2].any()
    torch.testing.assert_close(weights.sum(-1)[:, :, [0, 1, 3, 4]], torch.ones(3, 4, 4))


def test_a_softmax_that_weighs_no_values_is_not_taken() -> None:
    assert tapped(lambda: torch.randn(2, 9).softmax(-1))[1] == []
    assert tapped(lambda: torch.randn(2, 3, 4, 4).softmax(1) @ torch.randn(2, 3, 4, 4))[1] == []
    assert tapped(lambda: torch.randn(2, 3, 4, 4).softmax(-1))[1] == []


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
    torch.testing.assert_close(taken[0].mean(1), module(x, x, x)[1])
    with torch.no_grad():
        assert [t.shape for t in watched(lambda: module(x, x, x, need_weights=need_weights)[0])[1]] == [(3, 2, 5, 5)]


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


@pytest.mark.parametrize("method", ["attention", "rollout", "gradient_rollout", "legrad"])
@pytest.mark.parametrize(
    ("name", "fused"),
    [("test_vit", True), ("test_vit", False), ("beit_base_patch16_224", True), ("cait_xxs24_224", True)],
    ids=["fused", "unfused", "with biases", "class attention"],
)
def test_a_few_images_at_a_time_are_as_all_at_once(monkeypatch, method: str, name: str, fused: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        size = {} if name == "test_vit" else {"img_size": 64, "depth": 2}
        model = timm.create_model(name, num_classes=5, **size).eval()
    for part in model.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = fused
    side = 64 if size else 160
    batch = images(5, side=side)
    at_once = pellucid.explain(model, batch, method, targets=[0, 1, 2, 3, 4])
    assert not at_once.degenerate.all()
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(batch))
    numbers = max(math.prod(call.shape) for call in profile.attention_calls)
    monkeypatch.setattr(attention_gradients, "CHUNK", {"cpu": 2 * numbers})  # parts of 2, 2 and 1
    parts = pellucid.explain(model, batch, method, targets=[0, 1, 2, 3, 4])
    torch.testing.assert_close(parts.attributions, at_once.attributions, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(parts.logits, at_once.logits)


def test_tokens_that_are_not_in_a_row_are_multiplied_together() -> None:
    """Weights that need no gradient, and tokens turned as torch's own attention has them: torch takes each alone."""
    tokens, weight = torch.randn(5, 7, 4).transpose(0, 1).requires_grad_(), torch.randn(6, 4)
    with torch.enable_grad():
        plain = F.linear(tokens, weight, torch.ones(6))
        with AttentionMode(lambda *_: None):
            found = F.linear(tokens, weight, torch.ones(6))
    torch.testing.assert_close(found, plain)
    assert found.is_contiguous()
    assert "Bmm" not in _graph(found)
    assert "Bmm" in _graph(plain), "torch does it by itself now: the tap need not"


def _graph(tensor: Tensor) -> str:
    names, todo = [], [tensor.grad_fn]
    while todo:
        node = todo.pop()
        names.append(node.name())
        todo += [before for before, _ in node.next_functions if before is not None]
    return " ".join(names)
