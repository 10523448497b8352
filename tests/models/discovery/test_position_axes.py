"""Which axes of a tensor count positions, after each of torch's functions that changes them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, overrides
from torch.nn import functional as F

from pellucid.models.discovery.position_axes import ENLARGED, Axes
from pellucid.models.discovery.soft_mixing import SoftMixing


def followed(make: Callable[[Tensor], Tensor]) -> Axes:
    """The axes of what is made of a feature map (1, 6, 4, 4)."""
    image = torch.rand(1, 3, 8, 8)
    mixing = SoftMixing(image)
    with mixing:
        result = make(F.conv2d(image, torch.rand(6, 3, 2, 2), stride=2))
    axes = mixing.of(result)
    assert axes is not None
    return axes


@pytest.mark.parametrize(
    "enlarge",
    [
        lambda x: F.interpolate(x, 4),
        lambda x: F.interpolate(x, 4, mode="bilinear"),
        lambda x: x.expand(-1, -1, 4, 4),
        lambda x: x.expand_as(torch.rand(1, 6, 4, 4)),
        lambda x: x.repeat(1, 1, 4, 4),
    ],
)
def test_one_cell_that_is_enlarged_cannot_follow(enlarge: Callable[[Tensor], Tensor]) -> None:
    assert followed(lambda x: F.conv2d(enlarge(x.mean((2, 3), True)), ONE[..., None, None])).mixed_by == ENLARGED
    assert followed(lambda x: enlarge(x[:, :, :1, :1])) == followed(lambda x: x)
    assert followed(lambda x: x.mean((2, 3), True)).mixed_by - ENLARGED


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


ONE, FEW, SIX = torch.rand(6, 6), torch.rand(5, 16), torch.rand(6, 6, 1, 1)


def written(whole: Tensor, part: Tensor) -> Tensor:
    """A tensor after a part of another one is added to a part of it."""
    whole[:, :8].add_(part[:, :8])
    return whole


def turned(x: Tensor) -> Tensor:
    """Tokens after a number is added to a transposed view of them."""
    x = x.clone()
    x.transpose(1, 2).add_(1)
    return x


def both_ways(x: Tensor) -> Tensor:
    """A sum of tokens and of rows."""
    return tokens(x)[:, ::3] + x.flatten(2)[:, :, ::3]


def pairs(x: Tensor) -> Tensor:
    return (tokens(x) @ tokens(x).mT).softmax(-1)[:, None]


def added(x: Tensor) -> Tensor:
    """Channels projected, with a place for the output."""
    return torch.baddbmm(torch.rand(1, 16, 6), tokens(x), ONE[None], out=torch.empty(1, 16, 6))


AXES: dict[str, tuple[Callable[[Tensor], Tensor], tuple[bool, bool]]] = {
    "a map": (lambda x: x.relu(), (True, False)),
    "channels last": (lambda x: F.linear(x.permute(0, 2, 3, 1), ONE), (False, True)),
    "tokens": (tokens, (False, True)),
    "transposed twice": (lambda x: tokens(x).mT.mT, (False, True)),
    "scores of all pairs": (lambda x: tokens(x) @ tokens(x).transpose(1, 2), (True, True)),
    "products of channels": (lambda x: tokens(x).mT @ tokens(x), (False, False)),
    "channels projected on the left": (lambda x: ONE @ x.flatten(2), (True, False)),
    "channels projected on the right": (lambda x: tokens(x) @ ONE, (False, True)),
    "tokens projected on the left": (lambda x: FEW @ tokens(x), (False, False)),
    "tokens projected by an equation": (lambda x: torch.einsum("btc,nt->bnc", tokens(x), FEW), (False, False)),
    "channels projected by an equation": (lambda x: torch.einsum("...tc,dc->...td", tokens(x), ONE), (False, True)),
    "map projected by an equation": (lambda x: torch.einsum("bc...,dc->bd...", x, ONE), (True, False)),
    "channels first by an equation": (lambda x: torch.einsum("...c,cd->...d", tokens(x), ONE), (False, True)),
    "all but channels by an equation": (lambda x: torch.einsum("...tc,nt->...nc", tokens(x), FEW), (False, False)),
    "an equation that is no product": (lambda x: torch.einsum("btc->bct", tokens(x)), (False, True)),
    "the mean of all": (lambda x: x.mean((2, 3)), (False, False)),
    "the mean of channels": (lambda x: tokens(x).mean(-1), (True, False)),
    "the mean over NumPy's axis": (lambda x: tokens(x).mean(np.int64(1)), (False, False)),
    "the mean over some of NumPy's axes": (lambda x: tokens(x).mean((np.int64(2),)), (True, False)),
    "the mean of channels, kept by NumPy's name": (lambda x: torch.mean(tokens(x), 2, keepdims=True), (False, True)),
    "the mean of channels, kept": (lambda x: tokens(x).mean(-1, keepdim=True), (False, True)),
    "pooled to one": (lambda x: F.adaptive_avg_pool2d(x, 1), (False, False)),
    "a volume's maximum": (lambda x: F.adaptive_max_pool3d(x[:, :, None], 1), (False, False)),
    "a volume's mean": (lambda x: F.adaptive_avg_pool3d(x[:, :, None], 1), (False, False)),
    "pooled to four": (lambda x: F.adaptive_avg_pool2d(x, 2), (True, False)),
    "added in place": (lambda x: (FEW.mT @ FEW @ tokens(x)).add_(tokens(x)), (False, True)),
    "added in place to a part": (lambda x: written(FEW.mT @ FEW @ tokens(x), tokens(x)), (False, True)),
    "added in place to a transposed view": (lambda x: turned(tokens(x)), (False, True)),
    "of the type of tokens": (lambda x: FEW.mT.type_as(x) @ FEW @ tokens(x), (False, False)),
    "of their shape": (lambda x: torch.ones_like(tokens(x))[:, :6].mT @ tokens(x)[:, :6], (False, False)),
    "tokens with an axis more": (lambda x: tokens(x)[..., None], (False, True)),
    "rows with an axis more, and without it": (lambda x: x.flatten(2)[..., None].squeeze(-1), (True, True)),
    "mixed, with an axis more, and without it": (lambda x: (FEW @ tokens(x))[..., None][..., 0], (False, False)),
    "height and width exchanged": (lambda x: x.transpose(2, 3), (True, True)),
    "channels of heads last": (lambda x: x.view(1, 3, 2, 16).transpose(-1, -2), (False, True)),
    "channels of each of queries, keys and values last": (
        lambda x: torch.cat([x, x], 1).view(1, 3, 2, 2, 16).transpose(-1, -2),
        (False, True),
    ),
    "of two directions": (both_ways, (True, True)),
    "of two directions, convolved": (lambda x: F.conv2d(both_ways(x)[..., None], SIX), (True, False)),
    "of two directions, through a linear layer": (lambda x: F.linear(both_ways(x), ONE), (False, True)),
    "scores of all pairs, convolved": (lambda x: F.conv2d(pairs(x), torch.rand(2, 1, 1, 1)), (True, True)),
    "scores of all pairs, through a linear layer": (lambda x: F.linear(pairs(x), FEW), (True, True)),
    "blocks of a map": (lambda x: x.view(1, 6, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4), (True, True)),
    "real parts": (lambda x: torch.fft.fft2(tokens(x)).real, (False, True)),
    "imaginary parts": (lambda x: torch.fft.fft2(tokens(x)).imag, (False, True)),
    "factors by name": (lambda x: torch.matmul(other=ONE, input=tokens(x)), (False, True)),
    "factors by name, of another function": (lambda x: torch.bmm(mat2=tokens(x).mT, input=tokens(x)), (True, True)),
    "the operator's other factor": (lambda x: tokens(x).__rmatmul__(FEW), (False, False)),
    "a product that is added": (added, (False, True)),
    "fused attention": (lambda x: F.scaled_dot_product_attention(tokens(x), tokens(x), tokens(x)), (False, True)),
    "fused, of constants": (lambda x: F.scaled_dot_product_attention(ONE[None], tokens(x), tokens(x)), (False, False)),
}


class Unreadable:
    """A number of an axis that no other reader takes."""

    def __index__(self) -> int:
        raise ValueError("not now")


def matmul(x: Tensor) -> Tensor:
    """A function of the network's own, by the name of torch's."""
    return overrides.handle_torch_function(matmul, (x,), x) if overrides.has_torch_function((x,)) else x * 2


def mean(x: Tensor, dim: object) -> Tensor:
    """The same, with an argument that is none of torch's."""
    return overrides.handle_torch_function(mean, (x,), x, dim) if overrides.has_torch_function((x,)) else x * 2


@pytest.mark.parametrize("call", [matmul, lambda x: mean(x, Unreadable())])
def test_functions_of_the_networks_own_never_raise(call: Callable[[Tensor], Tensor]) -> None:
    axes = followed(lambda x: call(tokens(x)))
    assert (axes.last, axes.other) == (False, True)


@pytest.mark.parametrize("name", AXES)
def test_which_axes_count_positions(name: str) -> None:
    make, expected = AXES[name]
    axes = followed(make)
    assert (axes.last, axes.other) == expected


def heads(x: Tensor) -> Tensor:
    """Tokens (B, heads, T, features)."""
    return tokens(x).unflatten(2, (2, 3)).transpose(1, 2)


def in_place(x: Tensor) -> Tensor:
    x[:, :4].mul_(2)
    return x


def set_beside(x: Tensor, few: bool) -> Tensor:
    """Tokens written beside constants."""
    whole = torch.zeros(1, 20, 6)
    whole[:, 4:] = tokens(x)
    return whole[:, :4] if few else whole[:, 4:]


PARTS: dict[str, tuple[Callable[[Tensor], Tensor], float]] = {
    "all": (tokens, 1),
    "four": (lambda x: tokens(x)[:, :4], 4 / 16),
    "four of the last twelve": (lambda x: tokens(x)[:, 4:][:, :4], 4 / 16),
    "most": (lambda x: tokens(x)[:, 1:], 15 / 16),
    "every second": (lambda x: tokens(x)[:, ::2], 1),
    "the second part": (lambda x: tokens(x).split([1, 15], dim=1)[0], 1 / 16),
    "narrowed": (lambda x: tokens(x).narrow(1, 2, 8), 8 / 16),
    "by a list": (lambda x: tokens(x)[:, [3, 1, 2]], 3 / 16),
    "by numbers": (lambda x: tokens(x)[:, torch.tensor([3, 1, 2])], 1),
    "one": (lambda x: tokens(x)[:, 3], 1 / 16),
    "one, selected": (lambda x: tokens(x).select(1, 3), 1 / 16),
    "one of them": (lambda x: tokens(x).unbind(1)[3], 1 / 16),
    "three, stacked": (lambda x: torch.stack(tokens(x).unbind(1)[1:4], 1), 3 / 16),
    "three, side by side": (lambda x: torch.cat([tokens(x)[:, i, None] for i in range(3)], 1), 3 / 16),
    "both halves": (lambda x: torch.cat(tokens(x).chunk(2, dim=1), 1), 1),
    "more than all": (lambda x: torch.cat([tokens(x), tokens(x)[:, :4]], 1), 1),
    "a half and constants": (lambda x: torch.cat([torch.zeros(1, 8, 6), tokens(x)[:, 8:]], 1), 8 / 16),
    "four twice, in channels": (lambda x: torch.cat([tokens(x)[:, :4], tokens(x)[:, 4:8]], -1), 4 / 16),
    "four and all of them": (lambda x: tokens(x) + tokens(x)[:, :4].mean(1, keepdim=True), 1),
    "channels": (lambda x: tokens(x)[:, :, :2], 1),
    "a head": (lambda x: heads(x)[:, :1], 1),
    "of heads": (lambda x: heads(x)[:, :, :4], 4 / 16),
    "one of heads": (lambda x: heads(x)[:, :, 0], 1 / 16),
    "channels first": (lambda x: tokens(x).mT[:, :, :4], 4 / 16),
    "channels of channels first": (lambda x: tokens(x).mT[:, :3], 1),
    "tokens first": (lambda x: tokens(x).transpose(0, 1)[:4], 4 / 16),
    "rows of a map": (lambda x: x[:, :, :2], 1),
    "columns of a map": (lambda x: x[..., :2], 1),
    "through a linear layer": (lambda x: F.linear(tokens(x)[:, :4], ONE), 4 / 16),
    "written in place": (lambda x: in_place(tokens(x)), 1),
    "beside constants": (lambda x: set_beside(x, few=False), 16 / 20),
    "the constants": (lambda x: set_beside(x, few=True), 4 / 20),
}


@pytest.mark.parametrize("name", PARTS)
def test_which_part_of_the_tokens_is_left(name: str) -> None:
    make, expected = PARTS[name]
    axes = followed(make)
    assert axes.part == pytest.approx(expected)
    assert axes.is_mixed == axes.is_few == (expected <= 0.5)
    assert bool(axes.mixed_by) == axes.is_mixed


@pytest.mark.parametrize("few", [False, True])
def test_what_few_tokens_ask_has_none_of_the_positions(few: bool) -> None:
    for ask in (
        lambda x, asked: F.scaled_dot_product_attention(asked, tokens(x), tokens(x)),
        lambda x, asked: (asked @ tokens(x).mT).softmax(-1) @ tokens(x),
        lambda x, asked: torch.einsum("btc,cd->btd", asked, ONE),
    ):
        axes = followed(lambda x, ask=ask: ask(x, tokens(x)[:, : 4 if few else 16]))
        assert axes.is_mixed == few


def test_each_part_is_taken_by_a_function_of_its_own() -> None:
    def both(x: Tensor) -> Tensor:
        return torch.cat([tokens(x)[:, :3], tokens(x)[:, 3:7]], dim=1)

    assert len(followed(both).mixed_by) == 2
    assert len(followed(lambda x: both(x)[:, :2]).mixed_by) == 2
    assert followed(lambda x: torch.cat([both(x), tokens(x)[:, 7:]], dim=1)).mixed_by == frozenset()
