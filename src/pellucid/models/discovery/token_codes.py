"""Which token follows which cell of a grid, whatever the order of the tokens, measured by binary codes.

Each cell of the grid has a number. For every bit of it, the image is changed where the bit is 1, and where it is 0: a
token is the cell's whose number the two changes spell. Where a layout is already supposed, two random patterns show
whether the tokens follow it, and the codes are not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.tokens import Grids, Layout

PATTERNS = 2
"""The random patterns that a layout is checked by."""
_CLEAR = 0.8
"""The chance, from 0 to 1, that a token of a changed cell changes more than one of another cell; .5: it is the same."""
_AT_ONCE = 4
"""The most images in a pass."""
Tokens = Callable[[Tensor], "Tensor | None"]
"""From images (N, C, *space) to a layer's tokens (N, T, C)."""


def patterns(layout: Layout) -> Tensor:
    """Random cells to change, (PATTERNS, cells) bool: half of them in each."""
    cells = torch.arange(layout.cells, dtype=torch.float32)
    draws = [noise_like(cells.expand(number + 1, -1))[number] for number in range(PATTERNS)]
    return torch.stack([draw > draw.median() for draw in draws])


def changed(noise: Tensor, cells: Tensor, layout: Layout) -> Tensor:
    """Noise (1, C, *space), changed in those of a layout's cells (N, cells) that are True: (N, C, *space)."""
    plane = noise.shape[-len(layout.grid) :]  # of slices that are laid out one by one, in all of them
    masks = F.interpolate(cells.float().reshape(len(cells), 1, *layout.grid), plane, mode="nearest-exact").bool()
    masks = masks.reshape(len(cells), *(1,) * (noise.ndim - 1 - len(plane)), *plane)
    return torch.where(masks.to(noise.device), -2 * noise, noise)


def is_followed(before: Tensor, after: Tensor, cells: Tensor, tokens: Sequence[int]) -> bool:
    """Whether tokens follow the cells: those of changed cells change more, in every pattern."""
    return followed(before, after, cells, tokens) >= _CLEAR


def followed(before: Tensor, after: Tensor, cells: Tensor, tokens: Sequence[int]) -> float:
    """The chance that a token of a changed cell changes more than one of another cell, in the worst of the patterns.

    ``before`` (T, C), ``after`` (PATTERNS, T, C); ``tokens`` has the token at each cell.
    """
    changes = (after - before).abs().sum(dim=-1)[:, list(tokens)]
    pairs = zip(changes, cells.to(changes.device), strict=True)
    return min(_chance(change[which], change[~which]) for change, which in pairs)


def _chance(one: Tensor, other: Tensor) -> float:
    """The chance that a value of the first is above one of the second."""
    difference = one[:, None] - other[None]
    return float(((difference > 0).double() + 0.5 * (difference == 0)).mean())


def with_order(grids: Grids, layout: Layout, noise: Tensor, tokens: Tokens, known: Tensor) -> Grids:
    """Grids that know which token is at each cell of a layout's grid; as they are where the codes do not say it.

    ``known`` are the tokens of the noise, and of its random patterns: (1 + PATTERNS, T, C).
    """
    order = _order(layout, noise, tokens, known)
    return grids if order is None else with_known(grids, layout, *order)


def with_known(grids: Grids, layout: Layout, count: int, order: Sequence[int]) -> Grids:
    """Grids that know which of ``count`` tokens is at each cell of a layout's grid."""
    alone = tuple(torch.tensor(order).argsort().argsort().tolist())
    return replace(
        grids,
        known={
            **grids.known,
            count: replace(layout, prefix=0, order=tuple(order)),
            # Once what stands between and around the patches is gone.
            layout.cells: replace(layout, prefix=0, order=alone),
        },
    )


def _order(layout: Layout, noise: Tensor, tokens: Tokens, known: Tensor) -> tuple[int, list[int]] | None:
    """The number of tokens, and the token at each cell; None where some cell has none that follows it."""
    cells = torch.arange(layout.cells)
    bits = [(cells >> bit) % 2 == 1 for bit in range((layout.cells - 1).bit_length())]
    asked = torch.stack([one for bit in bits for one in (bit, ~bit)])
    found = [tokens(changed(noise, part, layout)) for part in torch.split(asked, _AT_ONCE)]
    if any(part is None for part in found):
        return None
    coded = torch.cat([part.float() for part in found if part is not None])
    before, after = known[0], known[1:]
    changes = (coded - before).abs().sum(dim=-1)
    ones, zeros = changes[::2], changes[1::2]
    margins = (ones - zeros) / (ones + zeros).clamp(min=1e-30)
    powers = 2 ** torch.arange(len(bits), device=margins.device)
    numbers = ((margins > 0) * powers[:, None]).sum(dim=0)
    clear = margins.abs().amin(dim=0)
    order = []
    for cell in range(layout.cells):
        own = torch.where(numbers == cell, clear, 0.0)
        order.append(int(own.argmax()) if bool(own.any()) else -1)
    is_whole = -1 not in order and len(set(order)) == len(order)
    is_right = is_whole and is_followed(before, after, patterns(layout), order)
    return (coded.shape[1], order) if is_right else None
