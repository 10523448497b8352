"""Whether the maps of a fixed batch lie on its findings: hit rate and relevance mass, without another pass."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.masks import Masks, masks_of
from pellucid.core.metric import EMPTY_MASK, NO_MASK, NOT_FINITE, Metric, Values
from pellucid.evaluation.scoring.by_masks import by_masks
from pellucid.metrics import PointingGame, RelevanceMass
from pellucid.run.judged_maps import form_of

METRICS: Mapping[str, Metric] = {"hit_rate": PointingGame(), "relevance_mass": RelevanceMass()}
"""What is measured where masks are given, by the name of the figure."""


def located(explanation: Explanation, masks: Masks | None) -> dict[str, Values]:
    """The values (B·K,) of each metric, by the name of the figure; none without masks.

    A map that shows nothing is a miss, and has no mass in the mask: 0. An image without a mask has no value, and
    neither has a map that is not finite.

    Raises:
        ShapeError, OptionError: the masks do not fit the images.
    """
    if masks is None:
        return {}
    count, columns, *space = explanation.heatmaps.shape
    regions, has_mask = (one.flatten(0, 1) for one in masks_of(masks, count, columns, space))
    return {name: _values(explanation, metric, regions, has_mask) for name, metric in METRICS.items()}


def _values(explanation: Explanation, metric: Metric, regions: Tensor, has_mask: Tensor) -> Values:
    maps = form_of(explanation, metric.takes).cpu().flatten(0, 1)
    values = by_masks(metric, {metric.takes: maps}, regions)
    finite = maps.flatten(1).isfinite().all(1)
    return Values(values, {NO_MASK: ~has_mask, EMPTY_MASK: ~regions.flatten(1).any(1), NOT_FINITE: ~finite})
