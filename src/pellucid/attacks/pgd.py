"""PGD (Madry et al. 2018, arXiv:1706.06083): climb the loss by the sign of its gradient, within a small box."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import OptionError, TargetError


@dataclass(frozen=True)
class PGD:
    """Projected gradient descent on the prediction, in the L∞ norm.

    From a random start in the box |δ| ≤ ε, ``steps`` times, with the cross-entropy L of the label y::

        x ← clip( x + step_size · sign ∂L(x, y)/∂x )    to within ε of the image, and to the image's range

    ``epsilon`` is in units of the images. ``step_size`` None is ε / 4. The range is [0, 1] for an image
    that lies in it, else the image's own minimum and maximum. The start is seeded.
    """

    epsilon: float = 8 / 255
    steps: int = 10
    step_size: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        if self.epsilon < 0 or (self.step_size is not None and self.step_size < 0):
            raise OptionError(f"epsilon and step_size must be >= 0, got {self.epsilon} and {self.step_size}")
        if self.steps < 1:
            raise OptionError(f"steps must be >= 1, got {self.steps}")

    def perturb(self, probe: Probe, labels: Tensor | None = None) -> Tensor:
        """Adversarial images (B, C, *space); ``labels`` (B,), the model's own prediction where none are given."""
        images, logits = probe.inputs.images, probe.scores()
        labels = logits.argmax(dim=1) if labels is None else labels
        if ((labels < 0) | (labels >= logits.shape[1])).any():
            raise TargetError(f"labels {labels.tolist()} were given; the model has {logits.shape[1]} classes, from 0")
        # A copy: what was made under inference_mode cannot take part in a graph.
        targets = Targets(partial(_loss, labels=labels.clone()))
        low, high = _range(images)
        low, high = torch.maximum(low, images - self.epsilon), torch.minimum(high, images + self.epsilon)
        step = self.epsilon / 4 if self.step_size is None else self.step_size
        adversarial = self._start(images).clamp(low, high)
        for _ in range(self.steps):
            gradient = probe.on(adversarial).input_gradients(targets)[:, 0]
            adversarial = (adversarial + step * gradient.sign().to(images)).clamp(low, high)
        return adversarial

    def _start(self, images: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.rand(images.shape, generator=generator).to(images)
        return images + self.epsilon * (2 * noise - 1)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels.to(logits.device), reduction="none")


def _range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's lowest and highest value that it may take, (B, 1, …)."""
    axes = tuple(range(1, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    unit = (low >= 0) & (high <= 1)
    return torch.where(unit, torch.zeros_like(low), low), torch.where(unit, torch.ones_like(high), high)
