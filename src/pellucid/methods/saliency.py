"""Saliency (Simonyan et al. 2013, arXiv:1312.6034): how strongly the score reacts to each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import magnitude
from pellucid.core.target import Targets


@register_method("saliency")
@dataclass(frozen=True)
class Saliency(Method):
    """Saliency, or vanilla gradient.

    With x (C, *space) the network's input and z the class's logit::

        map = max over the channels of |∂z/∂x|

    The map is (B, K, *space), on the image's own grid, not negative, in logits per unit of input.

    When to use it: as the plainest baseline, and inside SmoothGrad. It shows what the score is sensitive to, not what
    it rests on, and is noisy.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="saliency").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False
    concept: ClassVar[Concept | None] = Concept.SALIENCY

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        return Attribution(magnitude(probe.input_gradients(targets)))
