"""Centre, a prior: a Gaussian in the middle of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_prior
from pellucid.core.method import MadeFrom, Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.priors._blur import check_sigma


@register_prior("centre")
@dataclass(frozen=True)
class Centre(Method):
    """The prior that a finding is in the middle.

    With x_a a pixel's position along axis a of side s_a, and c_a the middle::

        map(x) = exp( − ½ Σ_a (x_a − c_a)² / (σ s_a)² )

    The map is (B, 1, *space), the same for every image and class. It never asks the model and never sees the image.
    ``sigma`` is σ, in sides of the image.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> found = pellucid.explain(resnet18(), torch.randn(1, 3, 33, 33), method="centre")
    >>> found.heatmaps[0, 0, 16, 16]
    tensor(1.)
    """

    sigma: float = 0.25

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    made_from: ClassVar[MadeFrom] = "nothing"

    def __post_init__(self) -> None:
        """Refuse a standard deviation outside its range."""
        check_sigma(self.sigma)

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-blind
        """The maps (B, 1, *space)."""
        images = probe.inputs.images
        exponent = torch.zeros(images.shape[2:], device=images.device)
        for axis, side in enumerate(images.shape[2:]):
            steps = torch.arange(side, device=images.device) - (side - 1) / 2
            along = (steps / (self.sigma * side)).square() / 2
            exponent = exponent + along.reshape([-1 if own == axis else 1 for own in range(exponent.ndim)])
        return Attribution(torch.exp(-exponent).expand(len(images), 1, *exponent.shape))
