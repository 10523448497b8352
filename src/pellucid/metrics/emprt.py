"""Efficient MPRT (Hedström et al. 2024, arXiv:2401.06465): how much more complex random weights make the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import CONSTANT_MAP, Cases, Change, Metric, Takes, Values, register_metric
from pellucid.errors import OptionError
from pellucid.metrics._randomised import MADE_NOT_FINITE


@register_metric("emprt")
@dataclass(frozen=True)
class EfficientMPRT(Metric):
    """Efficient model parameter randomisation: the relative rise of the map's complexity as all weights become random.

    With m the map, m_r that of the network with random weights in all layers, and H the entropy of the histogram of a
    map's values in ``bins`` equal bins from its smallest to its largest value, in nats::

        (H(m_r) − H(m)) / H(m)

    From −1 up; above 0 where the random network's map is the more complex one. A constant m has no value; a constant
    m_r has the entropy 0. It takes attributions, as they are; a scale or a shift of the maps changes it by rounding at
    the bins' edges only. It is a gate and no grade, as ``mprt`` is: near 0, the map may not depend on what the network
    has learned. It needs no similarity, and costs one map for each image.

    >>> import torch, pellucid
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> images = torch.rand(2, 1, 16, 16)
    >>> explanation = pellucid.explain(model, images, "saliency")
    >>> pellucid.evaluate(model, images, explanation, metrics=["emprt"])["emprt"].shape
    torch.Size([2, 1])
    """

    bins: int = 100

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset()
    better: ClassVar[Literal["higher", "lower"] | None] = None

    def __post_init__(self) -> None:
        """Refuse fewer than two bins."""
        if self.bins < 2:
            raise OptionError(f"bins must be at least 2, got {self.bins}")

    def update(self, cases: Cases) -> Values:
        """The relative rise of each case."""
        [(_, made)] = cases.maps_randomised("all")
        before, after = (histogram_entropy(one, self.bins) for one in (cases.maps, made))
        broken = ~made.flatten(1).isfinite().all(1)
        return Values((after - before) / before, {CONSTANT_MAP: before == 0, MADE_NOT_FINITE: broken})


def histogram_entropy(maps: Tensor, bins: int) -> Tensor:
    """The entropy in nats of each map's values (P, *space) in equal bins from its smallest to its largest: (P,).

    >>> histogram_entropy(torch.tensor([[0.0, 0.1, 0.9, 1.0], [3.0, 3.0, 3.0, 3.0]]), 2)
    tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    values = torch.nan_to_num(maps.flatten(1).cpu().double())
    low = values.amin(1, keepdim=True)
    spread = values.amax(1, keepdim=True) - low
    number = ((values - low) / torch.where(spread > 0, spread, 1) * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    shares = counts.scatter_add_(1, number, torch.ones_like(values)) / values.shape[1]
    entropies: Tensor = torch.special.entr(shares).sum(1)
    return entropies
