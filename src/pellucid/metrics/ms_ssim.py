"""MS-SSIM, the structural similarity of two maps at five scales (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.metric import Comparison, Values, check_same_shape, register_metric
from pellucid.metrics._windows import SIDE, similarity, too_small

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The paper's exponents, from the finest scale to the coarsest."""
SMALLEST = SIDE * 2 ** (len(_WEIGHTS) - 1)
"""The least side of a map, in pixels: at the coarsest scale a window fits."""
_POOLS = {2: F.avg_pool2d, 3: F.avg_pool3d}


@register_metric("ms_ssim")
@dataclass(frozen=True)
class MSSSIM(Comparison):
    """Multi-scale structural similarity, with cs_j SSIM without its luminance at scale j, of pixels 2^(j−1) wide.

    Formula::

        SSIM_5^w₅ Π_{j=1..4} cs_j^{w_j},  w = .0448, .2856, .3001, .2363, .1333

    SSIM is that of ``ssim``; each scale is the mean of 2 × 2 pixels (2 × 2 × 2 voxels) of the one before. A negative
    factor counts as 0. From 0 to 1; 1 is equality, and higher is more alike. Takes heatmaps (P, *space) as they are; no
    change of one map leaves it as it is. Maps with a side below 176 pixels have no value.

    >>> import torch, pellucid
    >>> maps = torch.rand(1, 176, 176)
    >>> pellucid.compare(maps, maps, metrics=["ms_ssim"])["ms_ssim"]
    tensor([[1.]], dtype=torch.float64)
    """

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        check_same_shape(a, b)
        small = too_small(a, SMALLEST)
        values = torch.full((len(a),), torch.nan) if bool(small.any()) else _product(a.double(), b.double())
        return Values(values, {f"the map is under {SMALLEST} pixels": small})


def _product(a: Tensor, b: Tensor) -> Tensor:
    pool, factors = _POOLS[a.ndim - 1], []
    for weight in _WEIGHTS[:-1]:
        factors.append(similarity(a, b)[1].clamp(min=0) ** weight)
        a, b = (pool(one[:, None], 2)[:, 0] for one in (a, b))
    factors.append(similarity(a, b)[0].clamp(min=0) ** _WEIGHTS[-1])
    return torch.stack(factors).prod(0)
