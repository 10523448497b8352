"""Derivatives of class scores: gradients of all classes at once, and Hessian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from pellucid.core.target import Targets
from pellucid.errors import GradientError, TargetError

T = TypeVar("T", Tensor, list[Tensor])
_HALF_SCALES = (1024.0, 1.0, 1 / 1024)
"""Factors on float16 scores, the next one where a gradient overflows: powers of two, so that undoing them is exact."""


class NotReached(Exception):  # noqa: N818  # caught in the engine, never seen
    """A leaf that the scores do not depend on."""


def gradients(scores: Tensor, leaves: list[Tensor], graph: bool) -> list[Tensor]:
    """Gradients (K, *leaf) of scores (B, K), float32 at least; images do not mix, so one pass serves the whole batch.

    float16 scores are scaled so that gradients neither vanish nor overflow.
    """
    count = scores.shape[1]
    chosen = torch.eye(count, dtype=scores.dtype, device=scores.device)
    chosen = chosen[:, None, :].expand(count, *scores.shape)

    def at(factor: float) -> list[Tensor]:
        return [restored(gradient, factor) for gradient in _vectorised(scores, leaves, chosen * factor, graph)]

    return scaled(at, leaves[0].dtype)


def scaled(differentiate: Callable[[float], T], dtype: torch.dtype) -> T:
    """The result of ``differentiate``, which undoes the factor it gets; float16 takes the first that stays finite."""
    for factor in _HALF_SCALES if dtype == torch.float16 else ():
        found = differentiate(factor)
        if all(tensor.isfinite().all() for tensor in (found if isinstance(found, list) else [found])):
            return found
    return differentiate(1.0)


def restored(gradient: Tensor, factor: float) -> Tensor:
    """The gradient of the scores, from that of the scores times a factor; float32 at least."""
    return as_float(gradient) if factor == 1 else as_float(gradient) / factor


def scores_of(targets: Targets, logits: Tensor) -> Tensor:
    """The scores (B, K), with their graph; an error if a callable target detached them."""
    with torch.enable_grad():
        scores = targets.scores(logits)
    if not scores.requires_grad and logits.requires_grad:
        raise TargetError(
            "the scores of the callable target have no gradient: compute them from the logits, undetached"
        )
    return scores


def explain_failure(error: RuntimeError, where: str) -> None:
    """Raise a clearer error if a backward pass failed because of checkpoints or in-place writes in the network."""
    if "checkpoint" in str(error).lower():
        raise GradientError(
            f"no gradient reaches {where}: the model runs them under torch.utils.checkpoint; turn gradient "
            f"checkpointing off"
        ) from error
    if "inplace operation" in str(error):
        raise GradientError(
            "a gradient was asked for; the model writes into values that its gradient needs (x += …): use x = x + …, "
            "or a method that needs no gradient"
        ) from error


def hvp(scores: Tensor, leaf: Tensor, graph: bool) -> Tensor:
    """H a of each score (B, K) at a leaf a: (K, *leaf), by differentiating the gradient along a."""
    products = []
    for score in scores.unbind(1):
        (gradient,) = all_used(
            torch.autograd.grad(score.sum(), [leaf], create_graph=True, retain_graph=True, allow_unused=True)
        )
        products.append(_along(gradient, leaf, graph))
    return torch.stack(products)


def _along(gradient: Tensor, leaf: Tensor, graph: bool) -> Tensor:
    """The derivative of a gradient along its leaf; zero where the score is linear in it."""
    if not gradient.requires_grad:
        return torch.zeros_like(gradient)
    (product,) = torch.autograd.grad(
        gradient, leaf, leaf if graph else leaf.detach(), retain_graph=True, create_graph=graph, allow_unused=True
    )
    return torch.zeros_like(gradient) if product is None else as_float(product)


def all_used(found: Sequence[Tensor | None]) -> list[Tensor]:
    """The gradients, or ``NotReached`` where one of them is missing."""
    used = [gradient for gradient in found if gradient is not None]
    if len(used) < len(found):
        raise NotReached
    return used


def as_float(tensor: Tensor) -> Tensor:
    """Half precision and quantised values as float32, everything else as it is."""
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def as_like(values: Tensor, known: Tensor) -> Tensor:
    """Values in the precision of a known tensor, quantised as it is."""
    if not known.is_quantized:
        return values.to(known.dtype)
    return torch.quantize_per_tensor(values.float(), known.q_scale(), known.q_zero_point(), known.dtype)


def _vectorised(scores: Tensor, leaves: list[Tensor], chosen: Tensor, graph: bool) -> list[Tensor]:
    """One vector-Jacobian product per class, batched where the network's backward allows it."""
    if len(chosen) > 1:
        try:
            found = torch.autograd.grad(
                scores, leaves, chosen, retain_graph=True, create_graph=graph, allow_unused=True, is_grads_batched=True
            )
            return all_used(found)
        except RuntimeError:
            pass  # a backward that cannot be batched: one class at a time, below
    each = [
        all_used(torch.autograd.grad(scores, leaves, one, retain_graph=True, create_graph=graph, allow_unused=True))
        for one in chosen
    ]
    return [torch.stack(column) for column in zip(*each, strict=True)]
