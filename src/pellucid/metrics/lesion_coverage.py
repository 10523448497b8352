"""Lesion coverage: how much of a finding a heatmap marks (the recall of its pixels; Powers 2011, arXiv:2010.16061)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Metric, Values, register_metric
from pellucid.metrics._areas import areas, check_threshold, share, without_masks


@register_metric("lesion_coverage")
@dataclass(frozen=True)
class LesionCoverage(Metric):
    """Lesion coverage, with A the pixels of the heatmap at ``threshold`` or above, and M the mask.

    Formula::

        |A ∩ M| / |M|

    From 0 to 1; higher is better. Takes heatmaps (P, *space); no change of the values leaves it as it is. A map that is
    high everywhere covers every finding: look at ``saliency_precision``, too. It is the recall of the mask's pixels,
    as ``saliency_precision`` is their precision.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, heat = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64)
    >>> heat[:, :16] = 1
    >>> masks = [{"boxes": [(0, 0, 64, 32)]}]
    >>> pellucid.evaluate(model, images, heat, masks=masks, metrics=["lesion_coverage"])["lesion_coverage"]
    tensor([[0.5000]], dtype=torch.float64)
    """

    threshold: float = 0.5

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a threshold that heatmaps do not reach."""
        check_threshold(self.threshold)

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        _, mask, both = areas(cases, self.threshold)
        return Values(share(both, mask), without_masks(cases))
