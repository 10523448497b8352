"""Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): weigh each channel by the mean of its gradient."""

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


@register_method("gradcam")
@dataclass(frozen=True)
class GradCAM(Method):
    """Grad-CAM; the published adapter is ``pellucid.xai.GradCAM``.

    With A (C, *grid) the layer's output and z the class's logit::

        w_c = mean over the grid of ∂z/∂A_c          map = relu( Σ_c w_c A_c )

    The map is (B, K, *grid), not negative, in units of the logit.

    When to use it: first. It costs no more than a prediction, and is the map that most readers know. Its cells are as
    coarse as the layer's; where evidence for and against lies in one channel, see HiResCAM.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> explanation = pellucid.explain(resnet18(), torch.randn(2, 3, 64, 64), method="gradcam")
    >>> explanation.layers, explanation.heatmaps.shape
    (('layer4',), torch.Size([2, 1, 64, 64]))
    """

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        weights = spatial_mean(gradients)
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)
