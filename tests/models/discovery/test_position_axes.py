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
    return tokens(x)[:, :6] + x.flatten(2)[:, :, :6]


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
