"""Pearson's correlation of two maps (1896, doi:10.1098/rsta.1896.0007)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from pellucid.core.metric import CONSTANT_MAP, Change, Comparison, Values, check_same_shape, register_metric
from pellucid.metrics._ranks import is_constant


@register_metric("pearson")
@dataclass(frozen=True)
class Pearson(Comparison):
    """The correlation of the values of two heatmaps over the pixels.

    Formula::

        Σ (a − ā)(b − b̄) / √(Σ (a − ā)² Σ (b − b̄)²)

    From −1 to 1; higher is more alike. Takes heatmaps (P, *space); a positive factor and a shift of one map leave it as
    it is. A constant map has no correlation.

    >>> import torch, pellucid
    >>> maps = torch.rand(1, 8, 8)
    >>> round(pellucid.compare(maps, 0.5 * maps + 0.2, metrics=["pearson"]).figure("pearson"), 4)
    1.0
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        check_same_shape(a, b)
        a, b = a.flatten(1), b.flatten(1)
        return Values(correlation(a.double(), b.double()), {CONSTANT_MAP: is_constant(a) | is_constant(b)})


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of each pair of rows (P, N), (P,); NaN where a row is constant."""
    a, b = (one - one.mean(1, keepdim=True) for one in (a, b))
    return ((a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()).clamp(-1, 1)
