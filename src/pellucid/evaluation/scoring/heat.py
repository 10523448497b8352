"""Where the heat goes on images without a finding, and where it would go if it were spread evenly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Shares = Mapping[str, float | None]
"""Shares of an image or of its heat, by where: the keys of ``Measured.lesion_free``; None where there is none."""
HIGH = 0.5
"""Heat of at least this counts as a false-positive area on images without a finding."""
BORDER = 0.1
"""The outer part of each side that is the border."""
AREA, USUAL, OUTER = "area", "in the mean mask", "at the border"


def shares(heat: Tensor, mean_masks: Tensor) -> list[Shares]:
    """The shares of each map (P, *space); ``mean_masks`` (P, *space) are NaN where no other patient has a mask."""
    values, usual = heat.flatten(1).double(), (mean_masks >= HIGH).flatten(1)
    total = values.sum(1)
    return [
        {AREA: _number(high) if math.isfinite(whole) else None, USUAL: within if known else None, OUTER: outer}
        for high, whole, within, outer, known in zip(
            (values >= HIGH).double().mean(1).tolist(),
            total.tolist(),
            _of((values * usual).sum(1), total),
            _of((values * border(heat.shape[1:]).flatten()).sum(1), total),
            mean_masks.flatten(1).isfinite().all(1).tolist(),
            strict=True,
        )
    ]


def even_shares(mean_masks: Tensor) -> list[Shares]:
    """The shares of each image if its heat were spread evenly, by the areas alone; (P, *space) as for ``shares``.

    The heat of a part is the part's share of the image. A map that is the same everywhere has no high part; of one
    whose values are spread evenly over [0, 1], 1 − ``HIGH`` is.
    """
    usual, outer = (mean_masks >= HIGH).flatten(1).double().mean(1), border(mean_masks.shape[1:]).double().mean()
    known = mean_masks.flatten(1).isfinite().all(1).tolist()
    return [
        {AREA: 1 - HIGH, USUAL: _number(within) if there else None, OUTER: _number(float(outer))}
        for within, there in zip(usual.tolist(), known, strict=True)
    ]


def border(space: Sequence[int]) -> Tensor:
    """Which pixels (*space) lie in the outer tenth of a side.

    >>> border((10, 10)).double().mean()
    tensor(0.3600, dtype=torch.float64)
    """
    inner = torch.zeros(tuple(space), dtype=torch.bool)
    inner[tuple(slice(math.ceil(BORDER * side), side - math.ceil(BORDER * side)) for side in space)] = True
    return ~inner


def _of(part: Tensor, whole: Tensor) -> list[float | None]:
    """Parts of sums (P,); None where there is no heat, or where it is not finite."""
    each = zip(part.tolist(), whole.tolist(), strict=True)
    return [_number(one / total) if math.isfinite(total) and total > 0 else None for one, total in each]


def _number(value: float) -> float:
    """A value as it is kept: seven digits."""
    return float(f"{value:.7g}")
