"""EigenGrad-CAM (pytorch-grad-cam, Gildenblat 2021): what the channels of gradient × activation have most in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import first_component
from pellucid.core.target import Targets


@register_method("eigengradcam")
@dataclass(frozen=True)
class EigenGradCAM(Method):
    """EigenGrad-CAM: Eigen-CAM of gradient × activation, so that it depends on the class.

    With X the (positions × C) matrix of g ⊙ A, not centred as in Eigen-CAM, and X = U Σ Vᵀ::

        map = X v₁, its sign such that it correlates positively with the mean over the channels (where that mean
              is flat, to 1 % of the root mean square: such that its largest magnitude is positive)

    pytorch-grad-cam centres X, and leaves the sign to chance. The map is (B, K, *grid), signed.

    When to use it: where HiResCAM is noisy and one pattern is expected to carry the evidence.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="eigengradcam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    signed: ClassVar[bool] = True
    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        return Attribution(first_component(gradients * activations))
