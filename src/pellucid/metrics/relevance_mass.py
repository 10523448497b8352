"""Relevance mass accuracy (Arras et al. 2022, arXiv:2003.07258): the share of a map's mass that lies in the mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pellucid.core.metric import Cases, Change, Metric, Values, register_metric
from pellucid.metrics._areas import share, without_masks


@register_metric("relevance_mass")
@dataclass(frozen=True)
class RelevanceMass(Metric):
    """Relevance mass accuracy, with m the heatmap and M the mask.

    Formula::

        Σ_{x in M} m(x) / Σ_x m(x)

    From 0 to 1; higher is better, and a constant map has the mask's share of the image. Takes heatmaps (P, *space),
    which are not negative; a positive factor leaves it as it is. An empty map has no mass in the mask: 0.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, heat = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.ones(1, 64, 64)
    >>> masks = [{"boxes": [(0, 0, 64, 16)]}]
    >>> pellucid.evaluate(model, images, heat, masks=masks, metrics=["relevance_mass"])["relevance_mass"]
    tensor([[0.2500]], dtype=torch.float64)
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        return Values(mass_in(cases.maps, cases.masks), without_masks(cases))


def mass_in(heatmaps: Tensor, masks: Tensor) -> Tensor:
    """The share (B,) float64 of the mass of heatmaps (B, *space) that lies in masks; 0 of an empty map."""
    maps = heatmaps.flatten(1).double()
    return share((maps * masks.flatten(1)).sum(1), maps.sum(1))
