"""Relevance rank accuracy (Arras et al. 2022, arXiv:2003.07258): the share of the highest pixels in the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Change, Metric, Values, register_metric
from pellucid.metrics._areas import without_masks
from pellucid.metrics._ranks import top_weights


@register_metric("relevance_rank")
@dataclass(frozen=True)
class RelevanceRank(Metric):
    """Relevance rank accuracy, with M the mask and T the |M| pixels where the heatmap is highest.

    Formula::

        |T ∩ M| / |M|

    From 0 to 1; higher is better, and a constant map has the mask's share of the image. Takes heatmaps (P, *space);
    every strictly increasing change leaves it as it is. Where pixels of one value compete for the last ranks, each has
    the same part in them: this is the mean over all orders of these pixels.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, heat = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64)
    >>> heat[:, 8:40] = 1
    >>> masks = [{"boxes": [(0, 0, 64, 32)]}]
    >>> pellucid.evaluate(model, images, heat, masks=masks, metrics=["relevance_rank"])["relevance_rank"]
    tensor([[0.7500]], dtype=torch.float64)
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        return Values(rank_accuracy(cases.maps.flatten(1), cases.masks.flatten(1)), without_masks(cases))


def rank_accuracy(maps: Tensor, masks: Tensor) -> Tensor:
    """The share of each map's |M| highest pixels that lie in its mask, (P,), from (P, pixels); NaN of an empty mask."""
    count = masks.sum(1)
    weights = top_weights(maps, count.clamp(min=1))
    inside = torch.where(masks, weights, torch.zeros_like(weights)).sum(1)
    return inside / count
