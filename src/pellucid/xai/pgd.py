"""``PGDAttack`` of the published API."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.attacks.pgd import PGD
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.runtime import Runtime
from pellucid.errors import ShapeError, TargetError
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept


class PGDAttack:
    """Projected gradient descent with the published interface; ``pellucid.attacks.pgd.PGD`` computes it."""

    def __init__(self, model: nn.Module, epsilon: float = 8 / 255) -> None:
        self.model = model
        self.epsilon = epsilon
        self._attack = PGD(epsilon)

    @on_cpu_by_default
    def generate(self, image: Tensor, label: int | Tensor | None = None) -> Tensor:
        """An adversarial image within ``epsilon`` and in the image's own range, with the same shape.

        ``image`` (C, H, W) or (B, C, H, W); ``label``: a class or (B,), by default the model's prediction.
        """
        if image.ndim not in (3, 4):
            raise ShapeError(f"image must be (C, H, W) or (B, C, H, W), got {tuple(image.shape)}")
        batch = image.detach() if image.ndim == 4 else image.detach()[None]
        labels = _labels(label, len(batch))
        adversarial = kept(lambda: self._attack.perturb(Pass.of(Session.of(self.model, Runtime()), batch), labels))
        return adversarial if image.ndim == 4 else adversarial[0]


def _labels(label: int | Tensor | None, count: int) -> Tensor | None:
    if label is None:
        return None
    labels = torch.as_tensor(label).reshape(-1)
    if len(labels) not in (1, count):
        raise TargetError(f"label: {len(labels)} were given for {count} images; give one, or one per image")
    return labels.expand(count)
