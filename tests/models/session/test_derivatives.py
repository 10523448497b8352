"""Derivatives of class scores are those that are computed one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import GradientError, TargetError
from pellucid.models.session.derivatives import (
    NotReached,
    all_used,
    as_float,
    explain_failure,
    gradients,
    hvp,
    restored,
    scaled,
    scores_of,
)
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


def curved() -> tuple[Tensor, Tensor, Tensor]:
    """Scores (2, 3) of two leaves, neither linear in them."""
    torch_numbers = torch.Generator().manual_seed(0)
    one, other = (torch.randn(2, 4, generator=torch_numbers).requires_grad_() for _ in range(2))
    weight = torch.randn(4, 3, generator=torch_numbers)
    return one, other, (one.sin() * other.square()) @ weight


def test_gradients_of_all_classes_are_those_of_one_after_the_other() -> None:
    one, other, scores = curved()
    found = gradients(scores, [one, other], graph=False)
    for index in range(3):
        expected = torch.autograd.grad(scores[:, index].sum(), [one, other], retain_graph=True)
        for each, plain in zip(found, expected, strict=True):
            torch.testing.assert_close(each[index], plain)
    assert not found[0].requires_grad
    assert gradients(scores, [one], graph=True)[0].requires_grad


def test_a_leaf_that_no_score_depends_on_is_told() -> None:
    one, _, scores = curved()
    with pytest.raises(NotReached):
        gradients(scores, [one, torch.ones(2, requires_grad=True)], graph=False)
    with pytest.raises(NotReached):
        all_used([one, None])


def test_a_hessian_vector_product_is_the_hessian_times_the_leaf() -> None:
    leaf = torch.tensor([[0.3, -1.2, 0.7]], requires_grad=True)

    def score(a: Tensor) -> Tensor:
        return (a[:, 0] * a[:, 1].exp() + a[:, 2] ** 3).sum()

    hessian = torch.autograd.functional.hessian(score, leaf.detach())[0, :, 0]
    scores = torch.stack([score(leaf), (2 * leaf).sum()])[None]
    found = hvp(scores, leaf, graph=False)
    torch.testing.assert_close(found[0, 0], hessian @ leaf[0].detach())
    assert not found[1].any(), "a score that is linear has no second derivative"
    trained = torch.ones(3, requires_grad=True)
    assert not hvp((leaf * trained).sum()[None, None], leaf, graph=False).any()


@pytest.mark.parametrize(
    ("dtype", "limit", "tried"),
    [
        (torch.float32, 0, [1]),
        (torch.float16, 2000, [1024]),
        (torch.float16, 10, [1024, 1]),
        (torch.float16, 0.1, [1024, 1, 1 / 1024]),
        (torch.float16, 0, [1024, 1, 1 / 1024, 1]),
    ],
)
def test_half_precision_is_tried_at_smaller_factors_until_all_is_finite(
    dtype: torch.dtype, limit: float, tried: list[float]
) -> None:
    factors: list[float] = []

    def differentiate(factor: float) -> list[Tensor]:
        factors.append(factor)
        return [torch.ones(2), torch.tensor([torch.inf if factor > limit else factor])]

    scaled(differentiate, dtype)
    assert factors == tried


def test_what_is_restored_is_float32_at_least() -> None:
    found = restored(torch.tensor([3072.0], dtype=torch.float16), 1024)
    assert (found.dtype, found.tolist()) == (torch.float32, [3.0])
    kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    floats = [as_float(torch.zeros(1, dtype=kind)).dtype for kind in kinds]
    assert floats == [torch.float32, torch.float32, torch.float32, torch.float64]


def test_scores_are_recorded_also_where_gradients_are_off() -> None:
    logits = torch.ones(2, 3, requires_grad=True)
    with torch.no_grad():
        assert scores_of(Targets([0, 2]), logits).requires_grad


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("Checkpointing is not compatible with .grad()", "no gradient reaches layer 3.*gradient checkpointing off"),
        ("modified by an inplace operation", r"writes into values that its gradient needs \(x \+= …\)"),
    ],
)
def test_a_failure_that_is_the_networks_says_what_to_do(told: str, said: str) -> None:
    with pytest.raises(GradientError, match=said):
        explain_failure(RuntimeError(told), "layer 3")
    explain_failure(RuntimeError("out of memory"), "layer 3")
