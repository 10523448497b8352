"""The distance of two maps' centres of mass (Ghorbani et al. 2019, doi:10.1609/aaai.v33i01.33013681)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import EMPTY_MAP, Change, Comparison, Values, check_same_shape, register_metric


@register_metric("centre_shift")
@dataclass(frozen=True)
class CentreShift(Comparison):
    """The distance of two heatmaps' centres of mass, in pixels.

    Formula::

        ‖ Σ x a(x) / Σ a − Σ x b(x) / Σ b ‖

    From 0 to the image's diagonal; lower is more alike. Takes heatmaps (P, *space), which are not negative; a positive
    factor of one map leaves it as it is. An empty map has no centre.

    >>> import torch, pellucid
    >>> a, b = torch.zeros(1, 9, 9), torch.zeros(1, 9, 9)
    >>> a[0, 1, 1] = b[0, 4, 5] = 1.0
    >>> pellucid.compare(a, b, metrics=["centre_shift"])["centre_shift"]
    tensor([[5.]], dtype=torch.float64)
    """

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        check_same_shape(a, b)
        distance = torch.linalg.vector_norm(centres(a) - centres(b), dim=1)
        return Values(distance, {EMPTY_MAP: torch.stack([one.flatten(1).sum(1) <= 0 for one in (a, b)]).any(0)})


def centres(maps: Tensor) -> Tensor:
    """The centres of mass of maps (P, *space), (P, axes) float64 in pixels; NaN of an empty map."""
    masses = maps.double()
    total = masses.flatten(1).sum(1)
    found = []
    for axis in range(1, maps.ndim):
        steps = torch.arange(maps.shape[axis], device=maps.device, dtype=torch.float64)
        others = [other for other in range(1, maps.ndim) if other != axis]
        found.append((masses.sum(dim=others) * steps).sum(1) / total)
    return torch.stack(found, dim=1)
