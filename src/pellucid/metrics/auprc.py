"""The area under the precision–recall curve of pixels (Davis and Goadrich 2006, doi:10.1145/1143844.1143874)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Change, Metric, Values, register_metric
from pellucid.metrics._areas import without_masks


@register_metric("auprc")
@dataclass(frozen=True)
class AUPRC(Metric):
    """AUPRC as average precision: over the heatmap's thresholds, with precision P and recall R of its pixels.

    Formula::

        Σ_n (R_n − R_{n−1}) P_n

    From 0 to 1; higher is better. The mask's share of the image is chance, and what a constant map has. Takes heatmaps
    (P, *space); every strictly increasing change leaves it as it is. Pixels of equal value belong to one threshold.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, heat = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.ones(1, 64, 64)
    >>> masks = [{"boxes": [(0, 0, 64, 16)]}]
    >>> pellucid.evaluate(model, images, heat, masks=masks, metrics=["auprc"])["auprc"]
    tensor([[0.2500]], dtype=torch.float64)
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        return Values(average_precision(cases.maps.flatten(1), cases.masks.flatten(1)), without_masks(cases))


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """The average precision of each row, (P,) float64, from scores (P, N) and flags (P, N); NaN without a positive."""
    ordered, order = scores.sort(dim=1, descending=True)
    found = positive.gather(1, order).cumsum(1).double()
    last = torch.ones_like(positive)  # the last of the pixels of equal value
    last[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    reached = torch.where(last, found, torch.zeros_like(found))
    before = torch.zeros_like(reached)
    before[:, 1:] = reached.cummax(1).values[:, :-1]
    counts = torch.arange(1, scores.shape[1] + 1, device=scores.device, dtype=torch.float64)
    gained = torch.where(last, (found - before) * found / counts, torch.zeros_like(found))
    return gained.sum(1) / found[:, -1]
