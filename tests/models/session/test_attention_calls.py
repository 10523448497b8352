"""What is read of one attention call: weights, output and gradient, a few images at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.session.attention_calls import WHOLE, Chunk, Read, SDPACall, SoftmaxCall

CHUNKS = [Chunk(0, 2, 3), Chunk(2, 3, 3)]
"""Three images, two of them first."""


def naive(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """The weights, one image, head and query at a time."""
    weights = torch.zeros(*query.shape[:3], key.shape[2])
    for image, head, row in np.ndindex(*query.shape[:3]):
        weights[image, head, row] = (key[image, head] @ query[image, head, row] * scale).softmax(0)
    return weights


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fused(bias: Tensor | None = None) -> tuple[SDPACall, list[int]]:
    """A call of three images with two heads, and how often its function ran."""
    ran: list[int] = []
    query, key, value = numbers(3, 2, 5, 4), numbers(3, 2, 6, 4, seed=1), numbers(3, 2, 6, 4, seed=2)

    def run() -> Tensor:
        ran.append(1)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=0.3)

    return SDPACall(query, key, value, bias, 0.3, run), ran


def gradient_read(call: SDPACall | SoftmaxCall, slope: Tensor) -> Tensor:
    """The gradient at the weights of Σ output · slope, read chunk by chunk."""
    reads: list[Read] = []
    call.begin()
    handle = call.watch(reads.append)
    (call.result() * slope).sum().backward()
    handle.remove()
    return torch.cat([reads[0](chunk) for chunk in CHUNKS])


def test_a_chunk_takes_as_many_rows_an_image_as_there_are() -> None:
    assert Chunk(1, 3, 3).of(torch.arange(6)).tolist() == [2, 3, 4, 5]
    assert WHOLE.of(torch.arange(6)).tolist() == [0, 1, 2, 3, 4, 5]


def test_weights_are_those_of_the_formula_in_chunks_as_at_once() -> None:
    call, _ = fused()
    expected = naive(call.query, call.key, 0.3)
    assert call.shape == (3, 2, 5, 6)
    torch.testing.assert_close(call.weights(), expected)
    torch.testing.assert_close(torch.cat([call.weights(chunk) for chunk in CHUNKS]), expected)


@pytest.mark.parametrize("read", [2, 1, 0], ids=["all", "some", "none"])
def test_the_fused_function_runs_where_the_weights_of_some_images_were_not_read(read: int) -> None:
    call, ran = fused()
    for chunk in CHUNKS[:read]:
        call.weights(chunk)
    torch.testing.assert_close(call.result(), naive(call.query, call.key, 0.3) @ call.value)
    assert len(ran) == (0 if read == 2 else 1)


def test_a_query_that_may_attend_to_nothing_has_weights_of_0() -> None:
    bias = numbers(3, 1, 5, 6, seed=3)
    bias[1, 0, 2] = -math.inf
    call, _ = fused(bias)
    found = torch.cat([call.weights(chunk) for chunk in CHUNKS])
    expected = (0.3 * call.query @ call.key.mT + bias).softmax(-1)
    assert expected[1, :, 2].isnan().all()
    torch.testing.assert_close(found, expected.nan_to_num(0))


def test_the_gradient_at_the_weights_is_that_of_the_formula() -> None:
    call, _ = fused()
    slope = numbers(3, 2, 5, 4, seed=4)
    weights = naive(call.query, call.key, 0.3).requires_grad_()
    (weights @ call.value * slope).sum().backward()
    torch.testing.assert_close(gradient_read(call, slope), weights.grad)


def test_what_is_unfused_has_a_second_derivative() -> None:
    call, ran = fused()
    call.query.requires_grad_()
    call.unfuse()
    torch.testing.assert_close(call.result(), naive(call.query, call.key, 0.3) @ call.value)
    (first,) = torch.autograd.grad(call.result().square().sum(), call.query, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), call.query)
    assert ran == []
    assert second.any()


def test_a_softmax_call_reads_in_one_order_of_axes_and_gives_the_networks() -> None:
    tensor, values = numbers(3, 5, 2, 6).softmax(-1), numbers(3, 6, 2, 4, seed=1)

    def use(weights: Tensor) -> Tensor:
        return torch.einsum("bihj,bjhd->bihd", weights, values)

    call = SoftmaxCall(tensor, use, (0, 2, 1, 3))
    assert call.shape == (3, 2, 5, 6)
    torch.testing.assert_close(call.weights(CHUNKS[1]), tensor[2:].transpose(1, 2))
    torch.testing.assert_close(call.result(), use(tensor))
    slope = numbers(3, 5, 2, 4, seed=2)
    leaf = tensor.clone().requires_grad_()
    (use(leaf) * slope).sum().backward()
    torch.testing.assert_close(gradient_read(call, slope), leaf.grad.transpose(1, 2))
    call.changed(torch.zeros_like)
    assert not call.result().any()


def test_weights_without_heads_have_one() -> None:
    tensor = numbers(3, 5, 6).softmax(-1)
    call = SoftmaxCall(tensor, lambda weights: weights, (0, 1, 2))
    assert call.shape == (3, 1, 5, 6)
    assert torch.equal(call.weights(CHUNKS[0]), tensor[:2, None])
