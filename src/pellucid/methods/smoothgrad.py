"""SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825): the mean map of noisy copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method, keep_sign, wrap
from pellucid.core.probe import Probe
from pellucid.core.space import mean_of
from pellucid.core.target import Targets
from pellucid.errors import OptionError
from pellucid.methods.saliency import Saliency


@register_method("smoothgrad")
@dataclass(frozen=True)
class SmoothGrad(Method):
    """SmoothGrad, a wrapper over any method: the mean of its maps under noise.

    With M(x) the inner method's map of the input x and ε_i standard normal noise, σ = ``noise`` · (max x − min x)::

        map = 1/n Σ_{i=1…n} M(x + σ ε_i), n = ``samples``

    ``Saliency()`` has no sign, so that noise does not cancel in it; the paper averages gradients and takes magnitudes
    last. The class is that of the clean image. The noise is seeded by ``Runtime.seed`` and the same for every
    image. The map has the inner method's grid, sign and units. Costs ``samples`` times the inner method.

    When to use it: over ``Saliency()`` (the default), whose noise it takes away; over ``GradCAM()`` as well. The
    default noise is the paper's, for photographs. Findings of low contrast drown in it, as on radiographs: set
    ``noise`` near what the images have of their own (0.01 to 0.03).

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="smoothgrad").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    method: Method = Saliency()  # noqa: RUF009  # methods are frozen
    samples: int = 16
    noise: float = 0.15

    def __post_init__(self) -> None:
        """Refuse what is no method, and options outside their range."""
        check_noise(self, self.method, self.samples, self.noise)
        keep_sign(self, self.method)

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        return Attribution(mean_of(noisy_maps(self.method, self.samples, self.noise, probe, targets)))


def check_noise(wrapper: Method, inner: Method, samples: int, noise: float) -> None:
    """Set up a wrapper; refuse what is no method, and options outside their range."""
    wrap(wrapper, inner)
    if samples < 1:
        raise OptionError(f"samples must be at least 1, got {samples}")
    if not noise >= 0:
        raise OptionError(f"noise must be at least 0, got {noise}")


def noisy_maps(inner: Method, samples: int, noise: float, probe: Probe, targets: Targets) -> Iterator[Tensor]:
    """The inner method's maps (B, K, *grid) of noisy copies of the batch, one after the other."""
    resolved = targets.resolved(probe.scores())
    images = probe.inputs.images
    levels = images.flatten(1)
    spread = (levels.amax(1) - levels.amin(1)).reshape(-1, *(1,) * (images.ndim - 1))
    generator = probe.generator()
    for _ in range(samples):
        grain = torch.randn((1, *images.shape[1:]), generator=generator).to(images)
        yield inner.attribute(probe.on(images + noise * spread * grain), resolved).values
