"""Contrast: all values move towards the image's mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.change import Change, register_change


@register_change("contrast")
@dataclass(frozen=True)
class Contrast(Change):
    """Less contrast, x′ = m + (1 − strength) (x − m), with m the mean of all values of the image."""

    unit: ClassVar[str] = "the share of the contrast that is lost"
    levels: ClassVar[tuple[float, ...]] = (0.1, 0.2, 0.4, 0.6)
    strongest: ClassVar[float] = 1.0

    strength: float = 0.4

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels nearer to their mean."""
        mean = pixels.double().flatten(1).mean(1).reshape(-1, *(1,) * (pixels.ndim - 1))
        return mean + (1 - self.strength) * (pixels.double() - mean)
