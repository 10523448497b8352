"""Arithmetic on the ranks of maps' values, in which equal values are treated alike."""

from __future__ import annotations

import torch
from torch import Tensor


def top_weights(values: Tensor, count: Tensor) -> Tensor:
    """Which values of each row (P, N) are among its ``count`` (P,) highest: (P, N) float64 with row sums ``count``.

    1 for a value above the last of them, and 0 for one below; values equal to the last share the ranks that are left.
    """
    last = values.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    above, equal = values > last, values == last
    left = count[:, None] - above.sum(1, keepdim=True)
    return above.double() + equal.double() * (left.double() / equal.sum(1, keepdim=True).clamp(min=1))


def average_ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row (P, N), from 1; equal values have the mean of their ranks: (P, N) float64."""
    ordered, order = values.sort(dim=1)
    number = torch.arange(values.shape[1], device=values.device).expand_as(values)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = torch.where(first, number, torch.zeros_like(number)).cummax(1).values
    last = first.roll(-1, dims=1)
    last[:, -1:] = True
    stop = torch.where(last, number, torch.full_like(number, values.shape[1])).flip(1).cummin(1).values.flip(1)
    ranks = (start + stop).double() / 2 + 1
    return torch.empty_like(ranks).scatter_(1, order, ranks)


def is_constant(values: Tensor) -> Tensor:
    """Which rows (P, N) have one value only: (P,) bool."""
    return values.amax(1) == values.amin(1)
