"""SmoothGrad squared (Hooker et al. 2019, arXiv:1806.10758): the mean squared map of noisy copies."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import mean_of
from pellucid.core.target import Targets
from pellucid.methods.saliency import Saliency
from pellucid.methods.smoothgrad import check_noise, noisy_maps


@register_method("smoothgrad_squared")
@dataclass(frozen=True)
class SmoothGradSquared(Method):
    """SmoothGrad squared, a wrapper over any method.

    As SmoothGrad, with map = 1/n Σ_i M(x + σ ε_i)², in the inner method's units squared: what is large in either sign.

    When to use it: over ``Saliency()``; in Hooker et al.'s ROAR benchmark it and VarGrad did best of the
    gradient methods.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="smoothgrad_squared").attributions.shape
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
        noisy = noisy_maps(self.method, self.samples, self.noise, probe, targets)
        return Attribution(mean_of(values.square() for values in noisy))
