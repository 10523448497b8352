"""Finer-CAM (Zhang et al. 2025, arXiv:2501.11309): Grad-CAM of what sets a class apart from those most like it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import spatial_mean, weighted_sum
from pellucid.core.target import Targets
from pellucid.errors import OptionError, TargetError


@register_method("finercam")
@dataclass(frozen=True)
class FinerCAM(Method):
    """Finer-CAM: what speaks for this class rather than for its nearest rivals.

    With z the logits, c the class and d_1 … d_n the ``references`` classes whose logits are nearest to z_c::

        s = Σ_i p_i (z_c − alpha · z_{d_i}), p = softmax over i of z_{d_i}        map = Grad-CAM of s

    The map is (B, K, *grid), not negative, in units of the logit. A callable target names no class and is refused.

    When to use it: among classes that look alike (kinds of lesions, species), where Grad-CAM shows what they share.
    With two classes it shows the difference of the two logits.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="finercam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    alpha: float = 1.0
    references: int = 3

    concept: ClassVar[Concept | None] = Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        if self.references < 1:
            raise OptionError(f"references must be at least 1, got {self.references}")

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        own = targets.indices(probe.scores())
        if (own < 0).any():
            raise TargetError("finercam compares classes; a callable target names none: give a class's number or name")
        activations, gradients = probe.activations_and_gradients(targets.scored_by(partial(self._scores, own)))
        weights = spatial_mean(gradients)
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)

    def _scores(self, own: Tensor, logits: Tensor) -> Tensor:
        """What to differentiate (B, K): each class's lead over the ones most like it."""
        score = logits.gather(1, own)
        count = min(self.references, logits.shape[1] - 1)
        if count == 0:
            return score
        distance = (logits[:, None] - score[..., None]).abs().scatter(2, own[..., None], torch.inf)
        nearest = distance.topk(count, dim=2, largest=False).indices
        rivals = logits[:, None].expand(-1, own.shape[1], -1).gather(2, nearest)
        return (rivals.softmax(dim=2) * (score[..., None] - self.alpha * rivals)).sum(dim=2)
