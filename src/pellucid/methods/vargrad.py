"""VarGrad (Adebayo et al. 2018, arXiv:1810.03307): how much the map moves under noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.methods.saliency import Saliency
from pellucid.methods.smoothgrad import check_noise, noisy_maps


@register_method("vargrad")
@dataclass(frozen=True)
class VarGrad(Method):
    """VarGrad, a wrapper over any method: how much its map moves under noise.

    As SmoothGrad, with map = 1/n Σ_i (M(x + σ ε_i) − mean)², in the inner method's units squared.

    When to use it: over ``Saliency()``, as SmoothGrad squared. What is steadily large is left out: a variance.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="vargrad").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    method: Method = Saliency()  # noqa: RUF009  # methods are frozen
    samples: int = 16
    noise: float = 0.15

    def __post_init__(self) -> None:
        """Refuse what is no method, and options outside their range."""
        check_noise(self, self.method, self.samples, self.noise)

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        return Attribution(_variance(noisy_maps(self.method, self.samples, self.noise, probe, targets)))


def _variance(maps: Iterable[Tensor]) -> Tensor:
    """By Welford's recursion: in one go, and without the loss of digits of E[M²] − E[M]²."""
    each = iter(maps)
    mean, count = next(each), 1
    spread = torch.zeros_like(mean)
    for values in each:
        count += 1
        off = values - mean
        mean = mean + off / count
        spread = spread + off * (values - mean)
    return spread / count
