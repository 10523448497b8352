"""Shapley-CAM (Cai 2025, arXiv:2501.06261): Grad-CAM with the second derivative: Shapley values, nearly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import spatial_mean, weighted_sum
from pellucid.core.target import Targets


@register_method("shapleycam")
@dataclass(frozen=True)
class ShapleyCAM(Method):
    """Shapley-CAM: Grad-CAM whose weights are Shapley values to second order.

    With A (C, *grid) the layer's output, g = ∂z/∂A and H the second derivatives of the class's logit there::

        w_c = mean over the grid of ( g − ½ H A )_c        map = relu( Σ_c w_c A_c )

    H A runs over the whole output, non-spatial tokens included. It costs one more backward pass a class; H is
    never held. Where only pooling and a linear layer follow, H is 0 and the map is Grad-CAM's. The paper's utility
    (ReST: the logit plus the log of its probability) is had with
    ``targets=lambda z: z[:, [c]] + z.log_softmax(1)[:, [c]]``. The map is (B, K, *grid), not negative.

    When to use it: on layers that non-linear ones follow (earlier layers, transformers), or with the ReST utility.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="shapleycam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        curvature = probe.hvp(targets)
        activations, gradients = probe.activations_and_gradients(targets)
        weights = spatial_mean(gradients - curvature / 2)
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)
