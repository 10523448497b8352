"""Attention is read right wherever it is computed: fused, masked, grouped, unfused, in torch's own module."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.models.session.attention_calls import WHOLE
from pellucid.models.session.attention_mode import AttentionMode


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
