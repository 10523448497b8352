"""XGrad-CAM (Fu et al. 2020, arXiv:2008.02312): weigh each channel by its gradient where it is active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import spatial_sum, weighted_sum
from pellucid.core.target import Targets


@register_method("xgradcam")
@dataclass(frozen=True)
class XGradCAM(Method):
    """XGrad-CAM: Grad-CAM whose weights count the gradient at a cell as much as the channel is active there.

    With A⁺ = relu(A) the layer's positive output and g = ∂z/∂A::

        w_c = Σ_p g_c(p) A⁺_c(p) / Σ_p A⁺_c(p), 0 where the channel is silent        map = relu( Σ_c w_c A⁺_c )

    The paper assumes A ≥ 0. On a layer before its activation the quotient would divide by a sum near 0, hence A⁺. The
    map is (B, K, *grid), not negative, in units of the logit.

    When to use it: in place of Grad-CAM where the paper's axioms (sensitivity, conservation) are asked for. Where only
    pooling and a linear layer follow, it equals Grad-CAM on A⁺.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="xgradcam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        activations = activations.relu()
        total = spatial_sum(activations)
        share = activations / torch.where(total > 0, total, torch.ones_like(total))
        weights = spatial_sum(gradients * share)
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)
