"""The order of the pixels of maps: which come first, with ties in a random order."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(maps: Tensor, generator: torch.Generator) -> Tensor:
    """The place of each pixel of maps (N, *space) in the order from the highest to the lowest: int32, from 0.

    Equal values are in the order of one permutation, drawn from a generator on the CPU, for all maps.

    >>> ranks(torch.tensor([[3.0, 9.0, 5.0]]), torch.Generator().manual_seed(0))
    tensor([[2, 0, 1]], dtype=torch.int32)
    """
    flat = maps.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=generator).to(maps.device)
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(flat.shape[1], device=maps.device, dtype=torch.int32).expand(len(flat), -1)
    return torch.empty_like(places, memory_format=torch.contiguous_format).scatter_(1, order, places).view_as(maps)


def among_first(ranked: Tensor, counts: Tensor) -> Tensor:
    """Which pixels of ranked maps (N, *space) are among the first ``counts`` (N,): (N, *space) bool."""
    return ranked < counts.to(ranked.dtype).reshape(-1, *(1,) * (ranked.ndim - 1))


def parts(pixels: int, steps: int, device: torch.device) -> Tensor:
    """0 to ``pixels`` in ``steps`` equal parts, rounded: (steps + 1,) int64.

    >>> parts(10, 4, torch.device("cpu"))
    tensor([ 0,  2,  5,  8, 10])
    """
    return (torch.arange(steps + 1).double() * (pixels / steps)).round().long().to(device)


def area(values: Tensor) -> Tensor:
    """The area below curves (N, steps + 1) over [0, 1], by trapezoids: a constant p gives p exactly.

    >>> area(torch.tensor([[1.0, 0.5, 0.0], [0.3, 0.3, 0.3]]))
    tensor([0.5000, 0.3000], dtype=torch.float64)
    """
    heights = values.cpu().double()  # on a GPU, a mean is a product with 1/n: the last bit of a constant would change
    return ((heights[:, 1:] + heights[:, :-1]) / 2).mean(dim=1)


def highest(heatmaps: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Where heatmaps (N, *space) are above 0 and among their highest ``share`` of the pixels, at least one: bool.

    >>> highest(torch.tensor([[0.1, 0.9, 0.0, 0.5]]), 0.5, torch.Generator().manual_seed(0))
    tensor([[False,  True, False,  True]])
    """
    count = max(1, round(share * heatmaps[:1].numel()))
    return (ranks(heatmaps, generator) < count) & (heatmaps > 0)


def cell_means(maps: Tensor, side: int) -> Tensor:
    """The means of maps (N, *space) over cells of ``side`` pixels along each axis; the last may have fewer.

    >>> cell_means(torch.tensor([[1.0, 3.0, 5.0]]), 2)
    tensor([[2., 5.]])
    """
    for axis in range(1, maps.ndim):
        pieces = torch.split(maps, side, dim=axis)
        maps = torch.cat([piece.mean(dim=axis, keepdim=True) for piece in pieces], dim=axis)
    return maps


def enlarged(cells: Tensor, side: int, space: torch.Size) -> Tensor:
    """The pixels (N, *space) of cells of ``side`` pixels.

    >>> enlarged(torch.tensor([[True, False]]), 2, torch.Size([3]))
    tensor([[ True,  True, False]])
    """
    for axis, length in enumerate(space, start=1):
        cells = cells.repeat_interleave(side, dim=axis).narrow(axis, 0, length)
    return cells
