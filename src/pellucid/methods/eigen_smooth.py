"""Eigen smoothing (pytorch-grad-cam, Gildenblat 2021): keep the first principal component of weight × activation."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method, wrap
from pellucid.core.probe import Probe
from pellucid.core.space import centred, first_component
from pellucid.core.target import Targets
from pellucid.errors import OptionError
from pellucid.methods.gradcam import GradCAM


@register_method("eigen_smooth")
@dataclass(frozen=True)
class EigenSmooth(Method):
    """A wrapper over a method that weighs channels: what its weighted channels have in common.

    With w and A the method's weights and activations, and v₁ the first right singular vector of the
    (positions × C) matrix X = w ⊙ A less its column means::

        map = relu( X v₁ ), its sign such that X v₁ correlates positively with the mean channel

    When to use it: where a map is speckled. What the channels do not share is thrown away, negative evidence too.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> from pellucid.methods.gradcam import GradCAM
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method=EigenSmooth(GradCAM())).attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    method: Method = GradCAM()  # noqa: RUF009  # methods are frozen

    def __post_init__(self) -> None:
        """Refuse what is no method."""
        wrap(self, self.method)

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        inner = self.method.attribute(probe, targets)
        if inner.weights is None or inner.activations is None:
            raise OptionError(f"eigen smoothing was asked for; method {self.method.name!r} weighs no channels")
        return Attribution(first_component(centred(inner.weights * inner.activations)).relu())
