"""Element-wise Grad-CAM (pytorch-grad-cam, Gildenblat 2021): add up positive products of gradient and activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets


@register_method("gradcam-elementwise")
@dataclass(frozen=True)
class GradCAMElementwise(Method):
    """Element-wise Grad-CAM: HiResCAM with each channel's negative cells left out before the channels are added.

    With A (C, *grid) the layer's output and g = ∂z/∂A::

        map = Σ_c relu( g_c ⊙ A_c )

    The map is (B, K, *grid), not negative, in units of the logit.

    When to use it: for comparison with results of pytorch-grad-cam. What speaks against the class is left out channel
    by channel, so it lights up wherever any channel does; prefer HiResCAM.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="gradcam-elementwise").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        return Attribution((gradients * activations).relu().sum(dim=2), gradients, activations)
