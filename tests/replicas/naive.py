"""Naive replicas of every method, as loops, from the paper's formula: they use no code of the package.

The replicas stand in ``naive_*.py``, by family; this file has their list and what they share.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Replica = Callable[..., Tensor]
"""(model, image (C, *space), target, layer, **options) → the map of one image and class."""

Target = int | Callable[[Tensor], Tensor]
"""A class, or a function from one image's logits (C,) to a score."""

REPLICAS: dict[str, Replica] = {}

SEED = 5
"""The seed of replicas that draw random numbers, and of the runtime that they are compared with."""


def replica(name: str) -> Callable[[Replica], Replica]:
    """Register the replica of a method."""

    def register(function: Replica) -> Replica:
        REPLICAS[name] = function
        return function

    return register


def score(model: nn.Module, image: Tensor, target: Target) -> Tensor:
    """The score of one image (C, *space)."""
    return target_score(model(image[None].clone())[0], target)


def target_score(logits: Tensor, target: Target) -> Tensor:
    """The score in one image's logits (C,)."""
    return target(logits) if callable(target) else logits[target]


def output_and_gradient(
    model: nn.Module, image: Tensor, target: Target, layer: str, factor: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A layer's output and the score's gradient at it, both (C, *grid), for one image, by one whole backward pass.

    The layer's output is multiplied by ``factor`` first.
    """
    kept: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept["output"] = output * factor
        return kept["output"].clone()  # a ReLU after it may work in place

    handle = dict(model.named_modules())[layer].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            value = score(model, image.clone().requires_grad_(), target)
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(value, kept["output"])
    return on_grid(model, kept["output"].detach()[0]), on_grid(model, gradient[0])


def is_rectified(model: nn.Module, image: Tensor, layer: str) -> bool:
    """Whether a layer's output is the input of a ReLU module."""
    given: dict[str, object] = {}
    modules = dict(model.named_modules())
    relus = [module for module in modules.values() if isinstance(module, nn.ReLU)]
    handles = [modules[layer].register_forward_hook(lambda _m, _i, output: given.update(output=output))]
    for relu in relus:
        handles.append(
            relu.register_forward_pre_hook(
                lambda _m, inputs: given.update(found=True) if inputs[0] is given.get("output") else None
            )
        )
    model(image[None].clone())
    for handle in handles:
        handle.remove()
    return "found" in given


def on_grid(model: nn.Module, output: Tensor) -> Tensor:
    """Tokens (T, C) as (C, *grid), without the non-spatial tokens before the patches."""
    if output.ndim > 2:
        return output
    prefix, sides = model.prefix, model.grid
    return output[prefix:].T.reshape(output.shape[1], *sides)


def positions(grid: Sequence[int]) -> itertools.product:
    """The index of every position of a grid."""
    return itertools.product(*(range(n) for n in grid))


def interpolated(values: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (…, *grid) resized: linear along each axis, pixel centres at half integers, constant beyond the border."""
    for axis, side in enumerate(size, start=values.ndim - len(size)):
        cells, lines = values.shape[axis], []
        for pixel in range(side):
            at = min(max((pixel + 0.5) * cells / side - 0.5, 0.0), cells - 1.0)
            low = int(at)
            here, there = values.select(axis, low), values.select(axis, min(low + 1, cells - 1))
            lines.append(here + (at - low) * (there - here))
        values = torch.stack(lines, dim=axis)
    return values


def min_max_scaled(values: Tensor) -> Tensor:
    """A tensor scaled by its minimum and maximum to [0, 1]; a constant one becomes 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else torch.zeros_like(values)
