"""The grid of tokens that no convolution over the image made, measured: which token follows which part of the image.

Patches may be cut by reshaping, or by a convolution over each frame of a video, and tokens may be slices that a
recurrent network takes one after the other. The image is changed at a corner, and at the far end of each axis. Where
the tokens that change most are as far apart as the axes of one grid are, in one order of the axes, that grid is known;
where no grid fits, the tokens have no places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.tokens import Grid, Grids
from pellucid.models.session.hooks import stopped_at
from pellucid.models.session.session import Session

_LOOKED_AT = 4
"""So many layers of tokens are looked at: the first may have channels where others have tokens."""


def measured_grids(profile: ModelProfile, session: Session, image: Inputs) -> Grids:
    """The grids of a profile without any of a convolution: the one that is measured, or none for tokens.

    It takes a pass of 3 + rank images that ends at the first layer of tokens; at the next ones, if no grid fits there.
    Where the network does not take several images, shapes decide.
    """
    names = [name for name, shape in profile.shapes.items() if name and _are_tokens(shape)]
    was_measured = False
    for name in names[:_LOOKED_AT]:
        found = _measured(profile.grids, session, image, name)
        if found is not None and found.made:
            return found
        was_measured = was_measured or found is not None
    return replace(profile.grids, unplaced=was_measured)


def _measured(grids: Grids, session: Session, image: Inputs, name: str) -> Grids | None:
    """The grids with the one that fits a layer's tokens, if one fits; None where that cannot be measured."""
    module = session.modules([name])[name]
    with torch.no_grad(), suppress(Exception):
        output = stopped_at(module, lambda: session.call(image.with_images(_ends(noise_like(image.images)))))
        if output is not None and output.ndim == 3:
            return _placed(grids, output.float())
    return None


def _are_tokens(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[0] == 1 < shape[1]


def _ends(noise: Tensor) -> Tensor:
    """Noise, and copies changed at the first corner, at the far end of each axis, and at the last: (3 + rank, …)."""
    rank = noise.ndim - 2
    changed = noise.repeat(3 + rank, *(1,) * (noise.ndim - 1))
    for index, far in enumerate([(), *((axis,) for axis in range(rank)), tuple(range(rank))], start=1):
        place = tuple(slice(-1, None) if axis in far else slice(0, 1) for axis in range(rank))
        part = changed[index][(slice(None), *place)]
        part.copy_(3 - 2 * part)
    return changed


def _placed(grids: Grids, tokens: Tensor) -> Grids:
    """The grids with the one that fits the tokens which changed; as they are, where none fits."""
    most = [(one - tokens[0]).abs().sum(dim=-1) for one in tokens[1:]]
    first, *axes, last = (int(change.argmax()) for change in most)
    distances = [axis - first for axis in axes]
    for order in permutations(range(len(axes))):  # row by row comes first
        grid = _grid(order, distances)
        if grid is None or last - first != math.prod(grid) - 1:
            continue
        rest = tokens.shape[1] - math.prod(grid)
        whole = not any(side % cells for side, cells in zip(grids.size, grid, strict=True))
        if whole and math.prod(grid[-2:]) > 1 and 0 <= first <= rest:
            own = {} if order == tuple(range(len(axes))) else {math.prod(grid): _tokens_of(grid, order)}
            return replace(grids, made=(grid,), before=None if first == rest else first, orders={**own, **grids.orders})
    return grids


def _grid(order: tuple[int, ...], distances: Sequence[int]) -> Grid | None:
    """The cells of each axis, where the axes follow one another so; None where the distances do not fit."""
    cells, step = dict.fromkeys(order, 1), 1
    for axis in reversed(order):
        if distances[axis] % step:
            return None
        cells[axis] = distances[axis] // step + 1
        if cells[axis] < 1:
            return None
        step *= cells[axis]
    return tuple(cells[axis] for axis in range(len(order)))


def _tokens_of(grid: Grid, order: tuple[int, ...]) -> tuple[int, ...]:
    """Which token lies at each cell, row by row, where the axes follow one another in another order."""
    numbers = torch.arange(math.prod(grid)).reshape([grid[axis] for axis in order])
    back = [order.index(axis) for axis in range(len(order))]
    return tuple(numbers.permute(back).flatten().tolist())
