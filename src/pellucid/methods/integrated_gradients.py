"""Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365): gradients added up on the way from a baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.inputs import chunks
from pellucid.core.method import Method
from pellucid.core.perturbation import one_by_one
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import OptionError


@register_method("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """Integrated gradients: shares of the score's rise from a baseline to the image that add up to it.

    With x the network's input, x' a image of the value ``baseline`` everywhere (in the units of the input, after
    normalisation) and z the class's logit, by the midpoint rule in m = ``steps`` steps::

        map = Σ over the channels of (x − x') ⊙ 1/m Σ_{i=1…m} ∂z/∂x at x' + (i − ½)/m · (x − x')

    The map is (B, K, *space), on the image's own grid, signed, in units of the logit. It is complete:
    ``explanation.checks["completeness_gap"]`` is z(x) − z(x') less the map's sum, and shrinks with more steps. Steps
    are passes with a backward one; ``Runtime.batch_size`` of them go in one.

    When to use it: where shares that add up are asked for. Choose the baseline with care: what equals it never counts.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="integrated_gradients").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    steps: int = 32
    baseline: float = 0.0

    uses_layers: ClassVar[bool] = False
    signed: ClassVar[bool] = True
    concept: ClassVar[Concept | None] = Concept.SALIENCY

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        if self.steps < 1:
            raise OptionError(f"steps must be at least 1, got {self.steps}")

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        each = [self._of(alone, target) for alone, target in one_by_one(probe, targets)]
        maps, gaps = zip(*each, strict=True)
        return Attribution(torch.cat(maps), checks={"completeness_gap": torch.cat(gaps)})

    def _of(self, probe: Probe, target: Targets) -> tuple[Tensor, Tensor]:
        """One image's maps (1, K, *space), and what is missing to their sums, (1, K)."""
        image = probe.inputs.images
        baseline = torch.full_like(image, self.baseline)
        parts = (torch.arange(self.steps, dtype=image.dtype, device=image.device) + 0.5) / self.steps
        total: Tensor | float = 0.0
        for start, stop in chunks(self.steps, probe.batch_size):
            share = parts[start:stop].reshape(-1, *(1,) * (image.ndim - 1))
            between = probe.on(baseline + share * (image - baseline))
            total = total + between.input_gradients(target.repeated(stop - start)).sum(dim=0, keepdim=True)
        maps = ((image - baseline)[:, None] * total / self.steps).sum(dim=2)
        rise = target.scores(probe.scores()) - target.scores(probe.on(baseline).scores())
        return maps, rise - maps.flatten(2).sum(dim=2)
