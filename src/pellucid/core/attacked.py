"""``Attacked``: what an attack found, with what the network says of the images before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation


@dataclass(frozen=True, eq=False)
class Attacked:
    """B images that an attack changed.

    Attributes:
        images: the model's input for the changed images, (B, C, *space), or a sequence as it was given, in the type of
            the images that were given, or the network's where that holds more. A network in half precision rounds
            them, and with them the budget.
        pixels: the same before normalisation, in [0, 1], where the budget is measured.
        clean: the pixels of the images as they were given.
        labels: the classes (B,) of the answers that were attacked.
        moved: whether each answer has moved, (B,) bool.
        logits, clean_logits: what the model says after and before, (B, C).
        explanation, clean_explanation: the maps of the labels after and before; None where no method was given.
        attack, options: the attack's name and options, as plain values.
    """

    images: Tensor
    pixels: Tensor
    clean: Tensor
    labels: Tensor
    moved: Tensor
    logits: Tensor
    clean_logits: Tensor
    explanation: Explanation | None
    clean_explanation: Explanation | None
    attack: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def linf(self) -> Tensor:
        """The largest change of a pixel of each image, (B,) float64."""
        return self._changes().abs().amax(dim=1)

    @property
    def l2(self) -> Tensor:
        """The Euclidean length of each image's change, (B,) float64."""
        found: Tensor = torch.linalg.vector_norm(self._changes(), dim=1)
        return found

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.pixels)

    def __repr__(self) -> str:
        """One line: the attack, how many images, and how many answers it moved."""
        return f"Attacked(attack={self.attack!r}, images={len(self)}, moved={int(self.moved.sum())})"

    def _changes(self) -> Tensor:
        return (self.pixels.cpu().double() - self.clean.cpu().double()).flatten(1)
