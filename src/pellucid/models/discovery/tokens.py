"""The layout of a layer's output: channels first, channels last, or a sequence of tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import torch
from torch import Tensor

Grid = tuple[int, ...]

MAX_PREFIX = 16
"""The most class, distillation and register tokens together; a sequence with more tokens left over fits no grid."""
FEW_PREFIX = 5
"""The same if no convolution made the grid: a class token and four registers."""
_ENLARGED = (2, 4, 8, 16, 32)
SHRINK = 2
"""The number of cells per axis that convolutions without padding may cut off a grid."""


@dataclass(frozen=True)
class Layout:
    """The spatial positions of a layer's output: its grid, and the number of non-spatial tokens before it.

    Tokens are (B, T, C), or (T, B, C) where ``batch_axis`` is 1; tokens after the grid's are non-spatial, too.
    ``order`` is the token, counted after the prefix, at each cell of the grid, row by row; empty: tokens are in
    row-major order. What it leaves out is non-spatial, as a class token among the patches. Where one image has several
    ``entries`` in the batch, ``entry`` is the one that is laid out; of several images, those of one image follow one
    another, or with ``by_entry`` the first ones of all images come first.
    """

    kind: Literal["channels_first", "channels_last", "tokens"]
    grid: Grid
    prefix: int = 0
    batch_axis: int = 0
    order: tuple[int, ...] = ()
    entries: int = 1
    entry: int = 0
    by_entry: bool = False

    @property
    def cells(self) -> int:
        """The number of the grid's cells."""
        return math.prod(self.grid)

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token at each cell of the grid, row by row."""
        return tuple(self.prefix + number for number in self.order or range(self.cells))

    def own(self, output: Tensor, axis: int) -> Tensor:
        """The part of a tensor that is this entry's, as a view of it; ``axis`` is the one of all images' entries."""
        if self.entries == 1:
            return output
        sizes = (self.entries, -1) if self.by_entry else (-1, self.entries)
        split = output.reshape(*output.shape[:axis], *sizes, *output.shape[axis + 1 :])
        return split.select(axis if self.by_entry else axis + 1, self.entry)

    def spatial(self, output: Tensor) -> Tensor:
        """A layer's output as (B, C, *grid)."""
        output = self.own(output, self.batch_axis)
        if self.kind == "channels_first":
            return output
        if self.kind == "tokens":
            tokens = output.movedim(self.batch_axis, 0)
            start, stop = self.prefix, self.prefix + self.cells
            tokens = tokens[:, list(self.tokens)] if self.order else tokens[:, start:stop]
            output = tokens.reshape(len(tokens), *self.grid, -1)
        return output.movedim(-1, 1)

    def restored(self, values: Tensor, output: Tensor) -> Tensor:
        """Values (B, C, *grid) in the layout of the layer's output; all else in it is as in ``output``."""
        if self.entries > 1:
            whole = output.clone(memory_format=torch.contiguous_format)
            own = self.own(whole, self.batch_axis)  # a view: reshape copies only what is not contiguous
            own.copy_(replace(self, entries=1).restored(values, own))
            return whole
        if self.kind == "channels_first":
            return values
        values = values.movedim(1, -1)
        if self.kind == "channels_last":
            return values
        cells = values.flatten(1, -2)
        known = output.movedim(self.batch_axis, 0)
        if self.order:
            places = torch.tensor(self.tokens, device=known.device)
            return known.index_copy(1, places, cells.to(known.dtype)).movedim(0, self.batch_axis)
        parts = [known[:, : self.prefix], cells, known[:, self.prefix + self.cells :]]
        return torch.cat(parts, dim=1).movedim(0, self.batch_axis)


@dataclass(frozen=True)
class Grids:
    """A network's spatial grids: the input's size, and what its convolutions and modules show."""

    size: Grid
    made: tuple[Grid, ...] = ()
    """The grids that convolutions made, in order, each once."""
    hints: tuple[Grid, ...] = ()
    """The grids of convolutions whose batch is not one image, such as its heads."""
    before: int | None = None
    """The number of non-spatial tokens before the patches; None: all of them."""
    by_columns: bool = False
    """Whether patches are in column-major order, not row-major."""
    widths: frozenset[int] = frozenset()
    """The numbers of channels that convolutions made."""
    orders: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    """The network's own token orders, keyed by the number of tokens."""
    known: Mapping[int, Layout] = field(default_factory=dict)
    """Layouts that were measured, keyed by the number of all tokens."""
    unplaced: bool = False
    """Whether tokens have no places: no grid fits those that change with parts of the image."""


def infer(shape: Sequence[int], grids: Grids, last: int | None = None, leaf: bool = False) -> Layout | None:
    """The layout of one image's output of this shape; None if it fits no grid.

    Tokens are on one of the grids that the network's convolutions made, or on one of them halved. ``last`` is the
    number of features on the last axis by the module's norms and linear layers (None: it has no such layers); ``leaf``:
    the module is itself such a layer.
    """
    rank = len(grids.size)
    if len(shape) == rank + 2 and shape[0] == 1:
        return _dense(tuple(shape[1:]), grids, last, leaf)
    if len(shape) == 3 and rank >= 2 and 1 in shape[:2] and not grids.unplaced:
        axis = 0 if shape[0] == 1 else 1
        return _tokens(shape[1 - axis], shape[2], axis, grids)
    return None


def _dense(shape: Grid, grids: Grids, last: int | None, leaf: bool) -> Layout | None:
    each: dict[Literal["channels_first", "channels_last"], Grid] = {
        "channels_first": shape[1:],
        "channels_last": shape[:-1],
    }
    fitting = {kind: grid for kind, grid in each.items() if _fits(grid, grids)}
    if leaf and last == shape[-1]:
        fitting.pop("channels_first", None)
    known = [kind for kind, grid in fitting.items() if grid in grids.made]
    kinds = known or list(fitting)
    if len(kinds) > 1:
        gaps = {kind: _distortion(each[kind], grids.size) for kind in kinds}
        gap = gaps["channels_first"] - gaps["channels_last"]
        kinds = ["channels_last" if gap > 0.01 or (abs(gap) <= 0.01 and last == shape[-1]) else "channels_first"]
    return Layout(kinds[0], each[kinds[0]]) if kinds else None


def _fits(grid: Grid, grids: Grids) -> bool:
    """Whether a grid has more than one cell and is one of the network's, or made from one by pooling or enlarging."""
    known = grids.made or (grids.size,)
    within = all(cells <= side for cells, side in zip(grid, grids.size, strict=True))
    return within and math.prod(grid) > 1 and any(_is_made_of(grid, other) for other in known)


def _is_made_of(grid: Grid, known: Grid) -> bool:
    """Whether cropping, enlarging or pooling makes a grid from a known one; a volume's first axis may have its own."""
    pairs = list(zip(grid, known, strict=True))
    if any(cells > of and cells % of for cells, of in pairs[:-2]):
        return False
    plane = pairs[-2:]
    shrunk = all(0 <= of - cells <= SHRINK for cells, of in plane)
    enlarged = len({cells / of for cells, of in plane}) == 1 and plane[0][0] / plane[0][1] in _ENLARGED
    return shrunk or enlarged or _is_pooled(plane)


def _is_pooled(plane: Sequence[tuple[int, int]]) -> bool:
    """Whether pooling by one whole factor on both axes makes the grid; edges may be cropped or padded."""
    least = math.floor(max(of / (cells + 1) for cells, of in plane)) + 1
    return all(cells <= of and (cells == 1 or least < of / (cells - 1)) for cells, of in plane)


def _distortion(grid: Sequence[int], size: Sequence[int]) -> float:
    """How much a grid's strides differ between the input's axes: the range of their logarithms."""
    strides = [math.log(pixels / max(cells, 1)) for pixels, cells in zip(size, grid, strict=True)]
    return max(strides) - min(strides)


def _tokens(count: int, features: int, axis: int, grids: Grids) -> Layout | None:
    """The layout on the grid that leaves the fewest tokens over; a merged grid may leave one, a class token."""
    if count in grids.known:
        return replace(grids.known[count], batch_axis=axis)
    own = set(grids.made or _tilings(grids.size))
    most = MAX_PREFIX if grids.made else FEW_PREFIX
    fitting = [
        (count - math.prod(grid), grid not in own and grid not in grids.hints, grid)
        for grid in _grids(grids)
        if math.prod(grid) > 1 and 0 <= count - math.prod(grid) <= (most if grid in own else 1)
    ]
    if not fitting:
        return None
    prefix, _, grid = min(fitting, key=lambda found: found[:2])
    if prefix > 1 and features in map(math.prod, grids.made) and features not in grids.widths:
        return None  # more likely (B, C, T), as within a Mixer's token mixing
    order = grids.orders.get(count - prefix, _down_the_columns(grid) if grids.by_columns else ())
    return Layout("tokens", grid, prefix if grids.before is None else min(prefix, grids.before), axis, order)


def _down_the_columns(grid: Grid) -> tuple[int, ...]:
    """The token at each cell, row by row, for tokens in column-major order."""
    rows, columns = grid[-2:]
    return tuple(column * rows + row for row in range(rows) for column in range(columns))


def _grids(grids: Grids) -> Iterator[Grid]:
    """Grids that tokens may be on: the convolutions' own and halves of them, latest first."""
    for grid in reversed(grids.made):
        yield from _halves(grid)
    if not grids.made:  # a network that makes patches without a convolution
        yield from _tilings(grids.size)


def _halves(grid: Grid) -> Iterator[Grid]:
    """A grid and its repeated halves; a volume's first axis is halved along, or its own number of times."""
    yield from _halved(grid)
    if grid[:-2]:
        yield from (first + plane for first, plane in product(_halved(grid[:-2]), _halved(grid[-2:])))


def _halved(sides: Grid) -> Iterator[Grid]:
    yield sides
    while math.prod(sides) > 1:
        sides = tuple((cells + 1) // 2 for cells in sides)
        yield sides


def _tilings(size: Grid) -> Iterator[Grid]:
    """The grids of whole square patches."""
    step = math.gcd(*size)
    yield from (tuple(side * cells // step for side in size) for cells in range(1, step + 1) if step % cells == 0)
