"""The maps that are judged, of an ``Explanation`` or of any origin, in the two forms that metrics take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from pellucid.core.dense import dense
from pellucid.core.explanation import Explanation
from pellucid.core.metric import Takes
from pellucid.core.space import heatmap, upsample
from pellucid.errors import ShapeError

_REACHED = 0.5
"""What the largest value of a heatmap is at least, where nobody says whether a map is one."""


def maps_alone(given: Explanation | Tensor) -> Mapping[Takes, Tensor]:
    """Maps (B, K, *space) of no images."""
    shape = given.heatmaps.shape if isinstance(given, Explanation) else with_columns(given).shape
    return maps_of(given, tuple(shape))


def with_columns(maps: object) -> Tensor:
    """Maps of any origin, (B, K, *space)."""
    if not isinstance(maps, Tensor) or maps.ndim not in (3, 4, 5) or maps.dtype == torch.bool or maps.is_complex():
        found = f"{tuple(maps.shape)} {maps.dtype}" if isinstance(maps, Tensor) else type(maps).__name__
        raise ShapeError(
            f"maps: an Explanation or a tensor (B, K, *space) of numbers was expected, got {found}{_instead(maps)}"
        )
    if not maps.numel():
        raise ShapeError(f"maps: at least one map of one pixel was expected, got {tuple(maps.shape)}")
    given = dense(maps, "maps")
    return (given[:, None] if given.ndim == 3 else given).detach().float()


def _instead(maps: object) -> str:
    """What to write for maps of another kind, as the end of a message."""
    if isinstance(maps, Tensor):
        return ": write maps.float()" if maps.dtype == torch.bool else ""
    return ": write torch.tensor(maps)" if isinstance(maps, (np.ndarray, list, tuple)) else ""


def maps_of(given: Explanation | Tensor, shape: tuple[int, ...]) -> dict[Takes, Tensor]:
    """The maps that metrics take, (B, K, *space) each."""
    if isinstance(given, Explanation):
        found: dict[Takes, Tensor] = {takes: form_of(given, takes) for takes in get_args(Takes)}
    else:
        maps = with_columns(given)
        maps = maps[:, None] if maps.ndim == len(shape) - 1 else maps
        found = {"heatmaps": _as_heatmaps(maps), "attributions": maps}
    for maps in found.values():
        if tuple(maps.shape) != shape:
            raise ShapeError(
                f"maps {tuple(maps.shape)} were given; {shape} (images, classes, *space) were expected: "
                "give targets= that fit, and maps at the images' size"
            )
    return found


def form_of(explanation: Explanation, takes: Takes) -> Tensor:
    """An Explanation's maps (B, K, *space) in one of the forms that metrics take."""
    if takes == "heatmaps":
        return _without_lost(explanation)
    return upsample(explanation.attributions, explanation.heatmaps.shape[2:])


def _as_heatmaps(maps: Tensor) -> Tensor:
    """Each of the maps (B, K, *space) as a heatmap: as it is if it is one already, and NaN if it is not finite.

    It is one if it lies within [0, 1] and comes half way up, or is constant: gradients may lie there too, near 0. Each
    is looked at on its own, so that its scores do not depend on the other maps.
    """
    each = maps.flatten(2)
    least, most = each.amin(-1), each.amax(-1)
    finite, within = each.isfinite().all(-1), (least >= 0) & (most <= 1) & ((most >= _REACHED) | (most == least))
    ones = (1,) * (maps.ndim - 2)
    if bool(within.all()):
        return maps
    scaled = torch.where(within.reshape(*within.shape, *ones), maps, heatmap(maps, maps.shape[2:]))
    return scaled.masked_fill(~finite.reshape(*finite.shape, *ones), torch.nan)


def _without_lost(explanation: Explanation) -> Tensor:
    """The heatmaps of an Explanation, NaN where the attributions are not finite, which it shows as zeros."""
    finite = explanation.attributions.flatten(2).isfinite().all(-1)
    ones = (1,) * (explanation.heatmaps.ndim - 2)
    lost = ~finite.reshape(*finite.shape, *ones)
    return explanation.heatmaps.masked_fill(lost, torch.nan) if bool(lost.any()) else explanation.heatmaps
