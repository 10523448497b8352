"""Local means under a Gaussian window, for the structural similarity of maps."""

from __future__ import annotations

import torch
from torch import Tensor

SIDE = 11
"""The window's side, in pixels."""
SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
"""The constants (0.01 L)² and (0.03 L)² of a data range L = 1."""


def similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps' structural similarity, and the part of it without luminance: means over the windows, (P,) float64.

    ``a`` and ``b`` are (P, *space). Only windows that lie within the map count, so the border of 5 pixels is left out;
    variances are those of a population.
    """
    a, b = a.double(), b.double()
    means = [_local(one) for one in (a, b)]
    squares = [_local(one.square()) - mean.square() for one, mean in zip((a, b), means, strict=True)]
    covariance = _local(a * b) - means[0] * means[1]
    structure = (2 * covariance + _C2) / (squares[0] + squares[1] + _C2)
    luminance = (2 * means[0] * means[1] + _C1) / (means[0].square() + means[1].square() + _C1)
    return (luminance * structure).flatten(1).mean(1), structure.flatten(1).mean(1)


def _local(maps: Tensor) -> Tensor:
    """The means of maps (P, *space) under the window, along one axis after the other."""
    for axis in range(1, maps.ndim):
        # A product with a band matrix: torch's convolution of one channel in double takes many times as long on a CPU.
        maps = torch.matmul(maps.movedim(axis, -1), _band(maps.shape[axis], maps)).movedim(-1, axis)
    return maps


def _band(side: int, like: Tensor) -> Tensor:
    """The weight (side, side − 10) of each pixel in each window along an axis."""
    starts = torch.arange(side - SIDE + 1, device=like.device)
    steps = torch.arange(side, device=like.device)[:, None] - starts - SIDE // 2
    weights = torch.exp(-steps.to(like.dtype).square() / (2 * SIGMA**2)) * (steps.abs() <= SIDE // 2)
    return weights / weights.sum(0)


def too_small(maps: Tensor, side: int) -> Tensor:
    """Whether maps (P, *space) have a side below ``side`` pixels, (P,) bool."""
    return torch.full((len(maps),), min(maps.shape[1:]) < side)
