"""How a layer's output lies on the picture: channels first, channels last, or tokens in a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MAX_PREFIX = 16
"""Class, distillation and register tokens together; a row with more left over is not a grid's."""

SIMILAR = 0.7
"""Spread of the logarithms of two grids' ratios up to which one is a coarser form of the other.

Queries and keys (B, heads, T, features) are no coarser form of any convolution's grid.
"""


@dataclass(frozen=True)
class Layout:
    """Where the places of a layer's output are: its grid, and how many tokens before it lie nowhere."""

    kind: Literal["channels_first", "channels_last", "tokens"]
    grid: tuple[int, ...]
    prefix: int = 0

    def spatial(self, output: Tensor) -> Tensor:
        """A layer's output as (B, C, *grid)."""
        if self.kind == "channels_first":
            return output
        if self.kind == "tokens":
            output = output[:, self.prefix :].reshape(len(output), *self.grid, -1)
        return output.movedim(-1, 1)

    def restored(self, values: Tensor, output: Tensor) -> Tensor:
        """Values (B, C, *grid) as the layer's output would be; tokens that lie nowhere are those of ``output``."""
        if self.kind == "channels_first":
            return values
        values = values.movedim(1, -1)
        if self.kind == "channels_last":
            return values
        return torch.cat([output[:, : self.prefix], values.flatten(1, -2)], dim=1)


def infer(
    shape: Sequence[int], size: Sequence[int], grids: Sequence[tuple[int, ...]], last: int | None
) -> Layout | None:
    """The layout of an output of this shape, for an input of this spatial size; None if it has no places.

    ``grids`` are the grids that the network's convolutions made, first to last: tokens lie on one of
    them, or on one of them halved. ``last`` is the number of features that the module's norms and
    linear layers, which work on the last axis, say it has (None: it has no such layers).
    """
    rank = len(size)
    if len(shape) == rank + 2:
        return _dense(tuple(shape[1:]), tuple(size), grids, last)
    if len(shape) == 3 and rank >= 2:
        return _tokens(shape[1], shape[2], tuple(size), grids)
    return None


def _dense(
    shape: tuple[int, ...], size: tuple[int, ...], grids: Sequence[tuple[int, ...]], last: int | None
) -> Layout | None:
    first, final = shape[1:], shape[:-1]
    if (first in grids) != (final in grids):
        channels_last = final in grids
    else:
        gap = _distortion(first, size) - _distortion(final, size)
        channels_last = gap > 0.01 or (abs(gap) <= 0.01 and last == shape[-1])
    grid = final if channels_last else first
    if math.prod(grid) <= 1 or (grids and min(_distortion(grid, known) for known in grids) > SIMILAR):
        return None
    return Layout("channels_last" if channels_last else "channels_first", grid)


def _distortion(grid: Sequence[int], size: Sequence[int]) -> float:
    """How differently a grid samples the input's axes: the spread of the strides' logarithms."""
    strides = [math.log(pixels / max(cells, 1)) for pixels, cells in zip(size, grid, strict=True)]
    return max(strides) - min(strides)


def _tokens(count: int, features: int, size: tuple[int, ...], grids: Sequence[tuple[int, ...]]) -> Layout | None:
    """The grid that leaves the fewest tokens over; a merged grid may only leave a class token."""
    fitting = [
        (count - math.prod(grid), grid)
        for grid in _grids(size, grids)
        if math.prod(grid) > 1 and 0 <= count - math.prod(grid) <= (MAX_PREFIX if grid in grids else 1)
    ]
    if not fitting:
        return None
    prefix, grid = min(fitting, key=lambda pair: pair[0])
    if prefix > 1 and features in map(math.prod, grids):
        return None  # rather (B, C, T), as within a Mixer's token mixing
    return Layout("tokens", grid, prefix)


def _grids(size: tuple[int, ...], grids: Sequence[tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Grids that tokens may lie on: the convolutions' own and halves of them, latest first."""
    for grid in reversed(grids):
        while math.prod(grid) > 1:
            yield grid
            grid = tuple((cells + 1) // 2 for cells in grid)
    if not grids:  # a network that cuts its patches without a convolution
        step = math.gcd(*size)
        yield from (tuple(s // step * k for s in size) for k in range(1, step + 1))
