"""Guided backpropagation (Springenberg et al. 2014, arXiv:1412.6806): positive gradients only. Fails sanity checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.functions import is_rectifier
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.rule import BackwardRule
from pellucid.core.space import magnitude
from pellucid.core.target import Targets


@register_method("guided_backprop")
@dataclass(frozen=True)
class GuidedBackprop(Method):
    """Guided backpropagation. It fails the sanity checks: the image hardly depends on what the network learnt.

    With x the network's input and z the class's logit, and at the output y of every activation function the gradient
    ∂z/∂y replaced by its positive part on the way back (for a ReLU, the paper's rule)::

        map = max over the channels of |guided ∂z/∂x|

    The map is (B, K, *space), on the image's own grid, not negative.

    When to use it: to reproduce older work. Adebayo et al. (2018, arXiv:1810.03292) show that it stays nearly the same
    when the weights are replaced by random ones, and Nie et al. (2018, arXiv:1805.07039) that it restores edges of the
    image: sharp lines in it are no evidence for the class.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="guided_backprop").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False
    concept: ClassVar[Concept | None] = Concept.SALIENCY

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        return Attribution(magnitude(probe.input_gradients(targets, GuidedRule())))


class GuidedRule(BackwardRule):
    """Gradients pass back through activation functions only where they are positive.

    For a ReLU that is the rule of guided backpropagation, ∂z/∂x · [x > 0] · [∂z/∂y > 0]: its own gradient takes care of
    the first bracket.
    """

    asked: ClassVar[str] = "guided gradients"
    needed: ClassVar[str] = "activation function that is known"
    instead: ClassVar[str] = "saliency"

    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Keep the positive part of the gradient at the output of an activation function."""
        output = function(*args, **named)
        if is_rectifier(function, args, named):
            self.after(output, torch.relu)
        return output
