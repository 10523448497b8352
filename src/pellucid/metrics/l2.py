"""The Euclidean distance of two maps (as Alvarez-Melis and Jaakkola 2018, arXiv:1806.08049, compare explanations)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Comparison, Values, check_same_shape, register_metric


@register_metric("l2")
@dataclass(frozen=True)
class L2(Comparison):
    """The Euclidean distance of two heatmaps.

    Formula::

        √( Σ_x (a(x) − b(x))² )

    From 0, of equal maps, to √N of N pixels; lower is more alike. Takes heatmaps (P, *space) as they are; no change of
    one map leaves it as it is.

    >>> import torch, pellucid
    >>> pellucid.compare(torch.ones(1, 3, 3), torch.zeros(1, 3, 3), metrics=["l2"])["l2"]
    tensor([[3.]], dtype=torch.float64)
    """

    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        check_same_shape(a, b)
        return Values(torch.linalg.vector_norm((a.double() - b.double()).flatten(1), dim=1))
