"""The entropy of a map (Bhatt et al. 2020, arXiv:2005.00631): over how many pixels it spreads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.metric import EMPTY_MAP, Cases, Change, Metric, Values, register_metric


@register_metric("entropy")
@dataclass(frozen=True)
class Entropy(Metric):
    """The Shannon entropy of the heatmap m as a distribution over its N pixels, in nats.

    Formula::

        − Σ_x p(x) ln p(x),  p(x) = m(x) / Σ m

    From 0, of a single pixel, to ln N, of a constant map. The paper calls it complexity and takes a low
    value for better; here neither is, since a wrong map may be simple. Takes heatmaps (P, *space), which are not
    negative; a positive factor leaves it as it is. An empty map is no distribution: it has no value.

    >>> entropies(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 5.0]]))
    tensor([0.6931, 0.0000], dtype=torch.float64)
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases whose map is not empty."""
        maps = cases.maps.flatten(1)
        return Values(entropies(maps), {EMPTY_MAP: maps.sum(1) <= 0})


def entropies(values: Tensor) -> Tensor:
    """The entropy of each row of values (P, N) that are not negative, (P,) float64 in nats; NaN where all are 0."""
    total = values.double().sum(1, keepdim=True)
    found: Tensor = torch.special.entr(values.double() / total).sum(1)
    return found
