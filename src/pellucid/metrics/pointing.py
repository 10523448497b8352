"""The pointing game (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x): whether a map's peak lies in a mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.metric import Cases, Change, Metric, Values, register_metric
from pellucid.errors import OptionError, ShapeError
from pellucid.metrics._areas import without_masks

_CONVOLUTIONS = {2: F.conv2d, 3: F.conv3d}


def pointing_hits(heatmaps: Tensor, masks: Tensor, tolerance: float = 0.0) -> Tensor:
    """Whether each map's peak lies in its mask, or at most ``tolerance`` pixels from it: (B,) bool.

    ``heatmaps`` (B, *space), with 2 or 3 spatial axes; ``masks`` (B, *space) bool; ``peaks`` defines the peak. An empty
    map (no value above 0, or not finite) and an empty mask are misses.

    >>> heat, mask = torch.zeros(1, 5, 5), torch.zeros(1, 5, 5, dtype=torch.bool)
    >>> heat[0, 1, 1], mask[0, 1, 3] = 1.0, True
    >>> pointing_hits(heat, mask), pointing_hits(heat, mask, tolerance=2)
    (tensor([False]), tensor([True]))

    Raises:
        ShapeError: the maps and the masks differ in shape, or do not have 2 or 3 spatial axes.
    """
    if heatmaps.shape != masks.shape:
        shapes = f"heatmaps {tuple(heatmaps.shape)} and masks {tuple(masks.shape)}"
        raise ShapeError(f"{shapes} were given; both must be (B, *space)")
    target = widened(masks, tolerance)
    which = (torch.arange(len(heatmaps), device=heatmaps.device), *peaks(heatmaps).unbind(dim=1))
    heights = heatmaps.flatten(1).amax(dim=1)
    return target[which] & heights.isfinite() & (heights > 0)


def peaks(heatmaps: Tensor) -> Tensor:
    """The positions of the maxima of maps (B, *space): (B, axes) int64.

    If several positions have the maximum, as in a map of blocks, the one nearest to their mean is the peak, so the peak
    of a block is its centre. Ties are resolved in reading order.
    """
    space, values = heatmaps.shape[1:], heatmaps.flatten(1)
    highest = values == values.amax(dim=1, keepdim=True)
    count = highest.sum(dim=1, keepdim=True).clamp(min=1)  # NaN equals nothing
    distances = torch.zeros_like(highest, dtype=torch.float64)
    for axis in _positions(space, heatmaps.device):
        centre = torch.where(highest, axis, 0.0).sum(dim=1, keepdim=True) / count
        distances += (axis - centre).square()
    nearest = distances.masked_fill_(~highest, torch.inf).argmin(dim=1)
    return torch.stack(torch.unravel_index(nearest, space), dim=1)


def _positions(space: Sequence[int], device: torch.device) -> Iterator[Tensor]:
    """The position of each pixel along each axis, (pixels,) float64."""
    for along, side in enumerate(space):
        steps = torch.arange(side, dtype=torch.float64, device=device)
        yield steps.reshape([-1 if axis == along else 1 for axis in range(len(space))]).expand(*space).flatten()


def widened(masks: Tensor, tolerance: float) -> Tensor:
    """Masks (B, *space), dilated by all pixels at a Euclidean distance of at most ``tolerance``.

    Raises:
        ShapeError: the masks do not have 2 or 3 spatial axes.
    """
    rank = masks.ndim - 1
    if rank not in _CONVOLUTIONS:
        raise ShapeError(f"masks (B, H, W) or (B, D, H, W) were expected, got {tuple(masks.shape)}")
    reach = int(min(tolerance, max(masks.shape[1:])))  # pixels farther away are outside the mask
    if not reach:
        return masks.bool()
    steps = torch.arange(-reach, reach + 1, device=masks.device)
    squares = torch.stack(torch.meshgrid(*[steps] * rank, indexing="ij")).square().sum(dim=0)
    ball = (squares <= tolerance**2).float()
    counts: Tensor = _CONVOLUTIONS[rank](masks[:, None].float(), ball[None, None], padding=reach)
    return counts[:, 0] > 0.5


@register_metric("pointing_game")
@dataclass(frozen=True)
class PointingGame(Metric):
    """The pointing game: 1 where the map's peak lies in the mask or at most ``tolerance`` pixels from it, else 0.

    The paper's tolerance is 15 px. Takes heatmaps (P, *space); a positive factor and every strictly increasing change
    that keeps the peak above 0 leave it as it is. Higher is better. A peak alone flatters a map that is high
    everywhere: look at ``relevance_mass`` and ``lesion_coverage``, too. An empty map is a miss.

    >>> import torch
    >>> heat, mask = torch.zeros(1, 5, 5), torch.zeros(1, 5, 5, dtype=torch.bool)
    >>> heat[0, 1, 1], mask[0, 1, 3] = 1.0, True
    >>> [pointing_hits(heat, mask, tolerance).item() for tolerance in (0, 2)]
    [False, True]
    """

    tolerance: float = 0.0

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True
    proportion: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a negative tolerance."""
        if not self.tolerance >= 0:
            raise OptionError(f"tolerance must be at least 0 pixels, got {self.tolerance}")

    def update(self, cases: Cases) -> Values:
        """1 or 0 for each case that has a mask."""
        hits = pointing_hits(cases.maps, cases.masks, self.tolerance)
        return Values(hits, without_masks(cases))

    def expected(self, cases: Cases, peaks: Tensor) -> Values:
        """The probability of a hit: the share of the positions of peaks (N, axes) that lie in the widened mask."""
        places = tuple(peaks.to(cases.masks.device).T)
        hits = widened(cases.masks, self.tolerance)[:, *places].double().mean(1)
        return Values(hits, without_masks(cases))
