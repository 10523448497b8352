"""SSIM, the structural similarity of two maps (Wang et al. 2004, doi:10.1109/TIP.2003.819861)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Comparison, Values, check_same_shape, register_metric
from pellucid.metrics._windows import SIDE, similarity, too_small


@register_metric("ssim")
@dataclass(frozen=True)
class SSIM(Comparison):
    """The mean structural similarity of two heatmaps as they are (data range 1), over Gaussian windows of 11 pixels.

    Formula::

        (2 μ_a μ_b + c₁) (2 σ_ab + c₂) / ((μ_a² + μ_b² + c₁) (σ_a² + σ_b² + c₂)),  c₁ = 0.01², c₂ = 0.03²

    The windows' σ is 1.5, (co)variances are those of a population, and only windows within the map count. From −1 to 1;
    1 is equality, and higher is more alike. Takes heatmaps (P, *space), 2-D or 3-D; no change of one map leaves it as
    it is. Maps with a side below 11 pixels have no value. Equal to scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1``.

    >>> import torch, pellucid
    >>> maps = torch.rand(2, 32, 32)
    >>> pellucid.compare(maps, maps, metrics=["ssim"])["ssim"].flatten()
    tensor([1., 1.], dtype=torch.float64)
    """

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""
        check_same_shape(a, b)
        small = too_small(a, SIDE)
        values = torch.full((len(a),), torch.nan) if bool(small.any()) else similarity(a, b)[0]
        return Values(values, {f"the map is under {SIDE} pixels": small})
