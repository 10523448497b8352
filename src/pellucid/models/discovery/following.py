"""Where positions of what a network makes of images lie in the images, by gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.owners import gradient_of

_PROBES = 12
"""The positions along an axis that are followed to the image."""
_WIDE = 0.03
"""A position that depends on pixels further apart than this share of the side is no place."""
_PEAK = 0.25
"""A position depends on the pixels with a gradient of this fraction of the largest: statistics of the image, such as
its mean, have a small one everywhere."""
_COMMON = 0.25
"""A pixel on which this share of the positions depend is no place of theirs, where not all lie somewhere otherwise."""


def followed(images: Tensor, rows: Tensor, axis: int, along: int | None) -> tuple[list[float], Tensor]:
    """Positions along an axis of rows (N, C, *frame), and where they lie in the images.

    The second is (positions, B, members or 1, rank), in pixels; NaN where the images are not seen there, infinite where
    they are seen at places that are far apart.
    """
    side = rows.shape[axis + 2]
    places = sorted({int((number + 0.5) * side / _PROBES) for number in range(_PROBES)})
    for aside in (0.45, 0.25, 0.7):  # another line, should this one lie in a margin
        gradients = partial(_gradients, images, rows, axis, places, aside)
        where = torch.stack([_centre(one, along) for one in gradients()])
        if bool(where.isinf().any()):
            common = _common(gradients())
            apart = torch.stack([_centre(one.masked_fill(common, 0), along) for one in gradients()])
            where = max(where, apart, key=lambda found: int(found.isfinite().sum()))
        if bool(where.isfinite().any()):
            break
    return [place + 0.5 for place in places], where


def _gradients(images: Tensor, rows: Tensor, axis: int, places: Sequence[int], aside: float) -> Iterator[Tensor]:
    """The gradients (B, C, *space) of the positions along an axis; ``aside``: where it lies on the other axes."""
    for place in places:
        value = rows
        for own, side in reversed(list(enumerate(rows.shape[2:], start=2))):
            value = value.select(own, place if own == axis + 2 else int(aside * side))
        # With weights, since the sum of what has lost its mean does not change with the images.
        yield gradient_of(noise_like(value) * value, images)


def _common(gradients: Iterator[Tensor]) -> Tensor:
    """The pixels (B, 1, *space) on which several positions depend, such as the brightest, by which all are divided."""
    depending = torch.stack([_is_large(gradient.abs().sum(dim=1, keepdim=True)) for gradient in gradients])
    return depending.sum(dim=0) >= _COMMON * len(depending)


def _is_large(size: Tensor) -> Tensor:
    return size > _PEAK * size.amax(dim=tuple(range(1, size.ndim)), keepdim=True)


def _centre(gradient: Tensor, along: int | None) -> Tensor:
    """Where a gradient (B, C, *space) has its peak: (B, members or 1, rank), in pixels.

    NaN where it has none, infinite where it is wide.
    """
    size = gradient.abs().sum(dim=1)
    size = size.unsqueeze(1) if along is None else size.movedim(1 + along, 1)
    axes = tuple(range(2, size.ndim))
    most = size.amax(dim=axes, keepdim=True)
    peak = torch.where((size > _PEAK * most) & (most > 0), size, 0.0).double()
    found = []
    for axis in axes:
        weights = peak.sum(dim=[other for other in axes if other != axis])
        centres = torch.arange(size.shape[axis], device=size.device, dtype=torch.float64) + 0.5
        centre = (weights * centres).sum(dim=-1) / weights.sum(dim=-1)  # NaN without a peak
        spread = (weights * (centres - centre.unsqueeze(-1)).square()).sum(dim=-1) / weights.sum(dim=-1)
        wide = spread.sqrt() > max(4, _WIDE * size.shape[axis])
        found.append(torch.where(wide, torch.inf, centre))
    return torch.stack(found, dim=-1).cpu()
