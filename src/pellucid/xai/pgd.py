"""``PGDAttack`` of the published API."""

from __future__ import annotations

from textwrap import shorten

import torch
from torch import Tensor, nn

from pellucid.attacks.pgd import PGD
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.runtime import Runtime
from pellucid.errors import ShapeError, TargetError
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.run.pointing import check_model


class PGDAttack:
    """Projected gradient descent with the published interface; ``pellucid.attacks.pgd.PGD`` computes it."""

    def __init__(self, model: nn.Module, epsilon: float = 8 / 255) -> None:
        self.model = model
        self.epsilon = PGD(epsilon).epsilon

    @on_cpu_by_default
    def generate(self, image: Tensor, label: int | Tensor | None = None) -> Tensor:
        """An adversarial image within ``epsilon`` and in the image's own range, with the same shape.

        ``image`` (C, H, W) or (B, C, H, W); ``label``: a class or (B,), by default the model's prediction.
        """
        check_model(self.model)
        _check_image(image)
        attack = PGD(self.epsilon)
        batch = image.detach() if image.ndim == 4 else image.detach()[None]
        labels = _labels(label, len(batch))
        adversarial = kept(lambda: attack.perturb(Pass.of(Session.of(self.model, Runtime()), batch), labels))
        return adversarial if image.ndim == 4 else adversarial[0]


def _check_image(image: object) -> None:
    if not isinstance(image, Tensor) or not image.dtype.is_floating_point:
        found = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise ShapeError(f"image must be a tensor of floating-point numbers, got {found}")
    if image.ndim not in (3, 4):
        raise ShapeError(f"image must be (C, H, W) or (B, C, H, W), got {tuple(image.shape)}")
    if not torch.isfinite(image).all():
        raise ShapeError("image has values that are not finite: leave it out")


def _labels(label: int | Tensor | None, count: int) -> Tensor | None:
    if label is None:
        return None
    labels = _numbers(label)
    if len(labels) not in (1, count):
        raise TargetError(f"label: {len(labels)} were given for {count} images; give one, or one per image")
    return labels.expand(count)


def _numbers(label: int | Tensor) -> Tensor:
    """Whole numbers as a tensor of one axis."""
    try:
        found = torch.as_tensor(label)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    if found.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        raise TargetError(f"label {shorten(repr(label), 60)} was given; give the number of a class, or one per image")
    return found.long().reshape(-1)
