"""Grad-CAM++ (Chattopadhyay et al. 2018, arXiv:1710.11063): weigh positive gradients so that every instance counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import spatial_sum, weighted_sum
from pellucid.core.target import Targets


@register_method("gradcam++")
@dataclass(frozen=True)
class GradCAMPlusPlus(Method):
    """Grad-CAM++; the published adapter is ``pellucid.xai.GradCAMPlusPlus``.

    With A⁺ = relu(A) the layer's positive output, g the gradient of the class's logit (eq. 19, with the
    paper's exponential score, whose factor exp(z) all weights of a map share)::

        α = g² / (2 g² + g³ Σ A⁺) = 1 / (2 + g Σ A⁺) where g ≠ 0, else 0
        w_c = Σ over the grid of α_c relu(g_c)        map = relu( Σ_c w_c A⁺_c )

    Only positive gradients enter w, so the denominator is at least 2: nothing has to be added to it, and
    small gradients don't vanish. The paper assumes A ≥ 0; on a layer before its activation the raw
    formula points away from the object. The map is (B, K, *grid); g · A is dimensionless in α,
    so a model whose logits are scaled up gets another map, as the formula says.

    When to use it: where several instances of the class are in one image, and Grad-CAM shows one. It counts positive
    gradients only, and spreads over what is not the class's alone.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="gradcam++").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        activations, gradients = activations.relu(), gradients.relu()
        weights = spatial_sum(gradients / (2 + gradients * spatial_sum(activations)))
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)
