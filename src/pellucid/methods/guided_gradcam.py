"""Guided Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): both multiplied. Fails sanity checks."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import magnitude
from pellucid.core.target import Targets
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.guided_backprop import GuidedRule


@register_method("guided_gradcam")
@dataclass(frozen=True)
class GuidedGradCAM(Method):
    """Guided Grad-CAM. Its fine lines come from guided backpropagation, which fails the sanity checks.

    With L the Grad-CAM map, brought to the image's size, and G (C, *space) the guided gradient::

        map = max over the channels of |L ⊙ G|

    The map is (B, K, *space), on the image's own grid, not negative.

    When to use it: to reproduce older work. Only its coarse shape, which is Grad-CAM's, depends on the class
    (Adebayo et al. 2018, arXiv:1810.03292).

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="guided_gradcam").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        coarse = GradCAM().attribute(probe, targets).values
        fine = probe.input_gradients(targets, GuidedRule())
        large = probe.view.drawn(coarse, fine.shape[3:])
        return Attribution(magnitude(large[:, :, None] * fine), on_image=True)
