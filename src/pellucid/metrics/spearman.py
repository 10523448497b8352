"""Spearman's rank correlation of two maps (1904, doi:10.2307/1412159)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pellucid.core.metric import CONSTANT_MAP, Change, Comparison, Values, check_same_shape, register_metric
from pellucid.metrics._ranks import average_ranks, is_constant
from pellucid.metrics.pearson import correlation


@register_metric("spearman")
@dataclass(frozen=True)
class Spearman(Comparison):
    """Pearson's correlation of the ranks r and s of two heatmaps' values; equal values have their mean rank.

    Formula::

        Σ (r − r̄)(s − s̄) / √(Σ (r − r̄)² Σ (s − s̄)²)

    From −1 to 1; higher is more alike. Takes heatmaps (P, *space); every strictly increasing change of one map leaves
    it as it is. A constant map has no correlation. Equal to scipy's ``spearmanr``.

    >>> import torch, pellucid
    >>> maps = torch.rand(1, 8, 8)
    >>> pellucid.compare(maps, maps**3, metrics=["spearman"]).figure("spearman")
    1.0
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        return self.against(a)(b)

    def against(self, a: Tensor) -> Callable[[Tensor], Values]:
        """The comparison with one other map each after the other: the ranks of ``a`` are found once."""
        ranks, constant = average_ranks(a.flatten(1)), is_constant(a.flatten(1))

        def compared(b: Tensor) -> Values:
            check_same_shape(a, b)
            found = correlation(ranks, average_ranks(b.flatten(1)))
            return Values(found, {CONSTANT_MAP: constant | is_constant(b.flatten(1))})

        return compared
