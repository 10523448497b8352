"""Darkest, a prior: how dark the blurred image is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_prior
from pellucid.core.method import MadeFrom, Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.priors._blur import blurred, check_sigma, grey


@register_prior("darkest")
@dataclass(frozen=True)
class Darkest(Method):
    """The prior that a finding is the darkest spot.

    With x̄ the mean of the image's channels, and G a Gaussian of standard deviation σ times the side::

        map = max (G * x̄) − G * x̄

    The map is (B, 1, *space), the same for every class, in units of the input. It is made from the image alone and
    never asks the model. ``sigma`` is σ, in sides of the image.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="darkest").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    sigma: float = 0.05

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    made_from: ClassVar[MadeFrom] = "image"

    def __post_init__(self) -> None:
        """Refuse a standard deviation outside its range."""
        check_sigma(self.sigma)

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-blind
        """The maps (B, 1, *space)."""
        smooth = blurred(grey(probe.inputs.images), self.sigma)
        axes = tuple(range(1, smooth.ndim))
        return Attribution((smooth.amax(dim=axes, keepdim=True) - smooth)[:, None])
