"""LayerCAM (Jiang et al. 2021, doi:10.1109/TIP.2021.3089943): weight each cell by its own positive gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import weighted_sum
from pellucid.core.target import Targets


@register_method("layercam")
@dataclass(frozen=True)
class LayerCAM(Method):
    """LayerCAM: a weight for every cell and channel, so that earlier, finer layers can be explained too.

    With A (C, *grid) the layer's output and g = ∂z/∂A the gradient of the class's logit::

        map = relu( Σ_c relu(g_c) ⊙ A_c )

    The map is (B, K, *grid), not negative, in units of the logit.

    When to use it: on earlier layers (``layers=["layer2", "layer3", "layer4"]``), where Grad-CAM's one weight a channel
    is too coarse. Negative gradients are left out, so it shows less of what speaks against the class than HiResCAM.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="layercam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        weights = gradients.relu()
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)
