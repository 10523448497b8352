"""Saliency precision, that of a heatmap's pixels (Powers 2011, arXiv:2010.16061): how much of them is finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Metric, Values, register_metric
from pellucid.metrics._areas import areas, check_threshold, share, without_masks


@register_metric("saliency_precision")
@dataclass(frozen=True)
class SaliencyPrecision(Metric):
    """Saliency precision, with A the pixels of the heatmap at ``threshold`` or above, and M the mask.

    Formula::

        |A ∩ M| / |A|

    From 0 to 1; higher is better. Takes heatmaps (P, *space); no change of the values leaves it as it is. An empty map
    is a miss: 0. A map of a single pixel may have precision 1: look at ``lesion_coverage``, too.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, heat = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64)
    >>> heat[:, :32] = 1
    >>> masks = [{"boxes": [(0, 0, 64, 24)]}]
    >>> pellucid.evaluate(model, images, heat, masks=masks, metrics=["saliency_precision"])["saliency_precision"]
    tensor([[0.7500]], dtype=torch.float64)
    """

    threshold: float = 0.5

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a threshold that heatmaps do not reach."""
        check_threshold(self.threshold)

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        high, _, both = areas(cases, self.threshold)
        return Values(share(both, high), without_masks(cases))
