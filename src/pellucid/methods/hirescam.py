"""HiResCAM (Draelos & Carin 2020, arXiv:2011.08891): multiply gradient and activation element by element."""

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


@register_method("hirescam")
@dataclass(frozen=True)
class HiResCAM(Method):
    """HiResCAM: what each cell of the layer contributes to the class's logit.

    With A (C, *grid) the layer's output and z the class's logit::

        map = Σ_c ∂z/∂A_c ⊙ A_c

    The map is (B, K, *grid) and keeps its sign: negative cells are evidence against the class. Where one linear layer
    follows, the map's sum is the logit less its bias.

    When to use it: where a map must be faithful to the layer: it shows what each cell adds to the score, and what it
    takes away. Rougher than Grad-CAM.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="hirescam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    signed: ClassVar[bool] = True
    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations, gradients = probe.activations_and_gradients(targets)
        return Attribution(weighted_sum(gradients, activations), gradients, activations)
