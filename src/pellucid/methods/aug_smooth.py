"""Augmentation smoothing (pytorch-grad-cam, Gildenblat 2021): the mean map of mirrored, darker and brighter copies."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method, keep_sign, wrap
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import LayerError
from pellucid.methods.gradcam import GradCAM


@register_method("aug_smooth")
@dataclass(frozen=True)
class AugSmooth(Method):
    """Test-time augmentation, a wrapper over any method.

    With M(x) the inner method's map of the input x and F the mirroring of the last axis::

        map = mean over f in {0.9, 1, 1.1} of ½ ( M(f x) + F M(f F x) )

    The class is that of the clean image. Further inputs of the network stay as they are. The map has the inner
    method's grid, sign and units. Costs 6 times it.

    When to use it: over a coarse method, for a map that is less torn and lies more evenly on the object. Not where left
    and right differ for the network, as with the heart in a chest film, nor where further inputs belong to the image
    position by position.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="aug_smooth").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    method: Method = GradCAM()  # noqa: RUF009  # methods are frozen

    def __post_init__(self) -> None:
        """Refuse what is no method."""
        wrap(self, self.method)
        keep_sign(self, self.method)

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        if self.method.uses_layers and probe.view.axes:
            raise LayerError(
                f"aug_smooth was asked for; the network itself crops, mirrors or turns the image before the layer, and "
                f"mirrored maps would not fit: use {self.method.name} alone"
            )
        resolved = targets.resolved(probe.scores())
        images = probe.inputs.images
        maps: list[Tensor] = []
        for factor in _FACTORS:
            mirrored = probe.on(images.flip(-1) * factor)
            found = self.method.attribute(probe.on(images * factor), resolved)
            maps += [found.values, self.method.attribute(mirrored, resolved.mirrored()).values.flip(-1)]
        return Attribution(sum(maps[1:], maps[0]) / len(maps), on_image=found.on_image)


_FACTORS = (0.9, 1.0, 1.1)
