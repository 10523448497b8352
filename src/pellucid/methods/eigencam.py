"""Eigen-CAM (Muhammad & Yeasin 2020, arXiv:2008.00299): what the channels of a layer have most in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import first_component
from pellucid.core.target import Targets


@register_method("eigencam")
@dataclass(frozen=True)
class EigenCAM(Method):
    """Eigen-CAM: the layer's output projected onto its first singular vector. It does not know the class.

    With A⁺ what the network goes on with of the layer's output A: relu(A) where A goes through a ReLU (min(relu(A), 6)
    through ReLU6), A itself elsewhere; X the (positions × C) matrix of A⁺, not centred; and X = U Σ Vᵀ::

        map = X v₁, its sign such that it correlates positively with the mean over the channels (where that mean
              is flat, to 1 % of the root mean square: such that its largest magnitude is positive)

    What a ReLU removes is often most of A, and alike everywhere: v₁ would be that. GELU and SiLU remove nothing. The
    map is (B, 1, *grid), signed, in units of the activation. It needs no gradient.

    When to use it: to see what stands out to the network, whatever its score; in detectors without a gradient. It
    cannot tell one finding from another, and is no evidence for any.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="eigencam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    uses_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-agnostic
        """The map (B, 1, *grid), whatever the target."""
        return Attribution(first_component(probe.activations(rectified=True)))
