"""Input × gradient (Shrikumar et al. 2016, arXiv:1605.01713): each pixel's value times its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets


@register_method("input_x_gradient")
@dataclass(frozen=True)
class InputXGradient(Method):
    """Input × gradient: what each pixel contributes, to first order, against an input of zeros.

    With x (C, *space) the network's input and z the class's logit::

        map = Σ over the channels of x ⊙ ∂z/∂x

    The map is (B, K, *space), on the image's own grid, signed, in units of the logit.

    When to use it: as a quick approximation of integrated gradients. A pixel of value 0 (after normalisation, the mean
    grey) never counts.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="input_x_gradient").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False
    signed: ClassVar[bool] = True
    concept: ClassVar[Concept | None] = Concept.SALIENCY

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        return Attribution((probe.input_gradients(targets) * probe.inputs.images[:, None]).sum(dim=2))
