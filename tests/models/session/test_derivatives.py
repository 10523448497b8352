"""Derivatives of class scores are those that are computed one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import TargetError
from tests.networks import TinyCNN, images, seeded


def test_a_backward_that_cannot_be_batched_goes_class_by_class() -> None:
    class Stubborn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return 2 * torch.from_numpy(gradient.numpy())  # no numpy under vmap

    model, batch = seeded(TinyCNN), images(2)
    expected = pellucid.explain(model, batch, targets="all").heatmaps
    model.dropout.register_forward_hook(lambda _m, _i, out: Stubborn.apply(out))
    torch.testing.assert_close(pellucid.explain(model, batch, targets="all").heatmaps, expected)


def test_float16_gradients_neither_vanish_nor_overflow() -> None:
    class Scaled(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return 2000 * super().forward(x)

    model, batch = seeded(Scaled), images(2)
    exact = pellucid.explain(model, batch, targets=1)
    half = pellucid.explain(model, batch, targets=1, runtime=Runtime(precision="float16"))
    assert not half.degenerate.any()
    assert torch.corrcoef(torch.stack([exact.heatmaps.flatten(), half.heatmaps.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize("request_", [lambda z: z.detach()[:, 0], lambda z: torch.ones(len(z))])
def test_a_callable_without_a_gradient_is_an_error_of_the_callable(request_) -> None:
    with pytest.raises(TargetError, match="callable target have no gradient"):
        pellucid.explain(seeded(TinyCNN), images(1), targets=request_)
