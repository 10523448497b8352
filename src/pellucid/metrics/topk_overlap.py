"""The overlap of two maps' highest pixels (Ghorbani et al. 2019, doi:10.1609/aaai.v33i01.33013681)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import CONSTANT_MAP, Change, Comparison, Values, check_same_shape, register_metric
from pellucid.errors import OptionError
from pellucid.metrics._ranks import is_constant, top_weights


@register_metric("topk_overlap")
@dataclass(frozen=True)
class TopKOverlap(Comparison):
    """The share of the k highest pixels that two heatmaps have in common, k being ``share`` of all pixels.

    Formula::

        |T_a ∩ T_b| / k

    From 0 to 1; higher is more alike, and ``share`` is chance. Takes heatmaps (P, *space); every strictly increasing
    change of one map leaves it as it is. Where pixels of one value compete for the last ranks, each has the same part w
    in them: the overlap is Σ min(w_a, w_b) / k, which is 1 for equal maps. A constant map has no highest pixels.

    >>> import torch, pellucid
    >>> maps = torch.rand(1, 8, 8)
    >>> pellucid.compare(maps, maps**3, metrics=["topk_overlap"]).figure("topk_overlap")
    1.0
    """

    share: float = 0.1

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def __post_init__(self) -> None:
        """Refuse a share outside its range."""
        if not 0 < self.share <= 1:
            raise OptionError(f"share must be above 0 and at most 1, got {self.share}")

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        check_same_shape(a, b)
        a, b = a.flatten(1), b.flatten(1)
        count = max(1, round(self.share * a.shape[1]))
        counts = torch.full((len(a),), count, device=a.device)
        common = torch.minimum(top_weights(a, counts), top_weights(b, counts)).sum(1) / count
        return Values(common, {CONSTANT_MAP: is_constant(a) | is_constant(b)})
