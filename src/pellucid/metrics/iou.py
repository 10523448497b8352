"""Intersection over union of a heatmap and a mask (Saporta et al. 2022, doi:10.1038/s42256-022-00536-x)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Metric, Values, register_metric
from pellucid.metrics._areas import areas, check_threshold, share, without_masks


@register_metric("iou")
@dataclass(frozen=True)
class IoU(Metric):
    """Intersection over union, with A the pixels of the heatmap at ``threshold`` or above, and M the mask.

    Formula::

        |A ∩ M| / |A ∪ M|

    From 0 to 1; higher is better, and of a mask with itself it is 1. Takes heatmaps (P, *space); the threshold is one
    of their scale, so no change of the values leaves the metric as it is. An empty map is a miss: 0. The threshold of
    .5 is a convention: tune it on other patients than those that are scored.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, masks = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64)
    >>> masks[:, :32] = 1
    >>> pellucid.evaluate(model, images, masks, masks=masks, metrics=["iou"])["iou"]
    tensor([[1.]], dtype=torch.float64)
    """

    threshold: float = 0.5

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a threshold that heatmaps do not reach."""
        check_threshold(self.threshold)

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        high, mask, both = areas(cases, self.threshold)
        return Values(share(both, high + mask - both), without_masks(cases))
