"""Sparseness, the Gini index of a map (Chalasani et al. 2020, arXiv:1810.06583): how few pixels hold its mass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Change, Metric, Values, register_metric
from pellucid.metrics._areas import share


@register_metric("sparseness")
@dataclass(frozen=True)
class Sparseness(Metric):
    """The Gini index, with m_1 ≤ … ≤ m_N the heatmap's values in order.

    Formula::

        Σ_k (2k − N − 1) m_k / (N Σ_k m_k)

    From 0, of a constant map (an empty one, too), to (N − 1)/N, of a single pixel. The paper takes a high value for
    better; here neither is, since a wrong map may be sparse. Takes heatmaps (P, *space), which are not negative; a
    positive factor leaves it as it is.

    >>> gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 5.0]]))
    tensor([0.0000, 0.7500], dtype=torch.float64)
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})

    def update(self, cases: Cases) -> Values:
        """The values (P,) of all cases."""
        return Values(gini(cases.maps.flatten(1)))


def gini(values: Tensor) -> Tensor:
    """The Gini index of each row of values (P, N) that are not negative, (P,) float64; 0 where all are 0."""
    ordered, count = values.double().sort(dim=1).values, values.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=values.device, dtype=torch.float64) - count - 1
    return share((weights * ordered).sum(1), count * ordered.sum(1))
