"""Gamma: middle values become darker, black and white stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.change import Change, register_change


@register_change("gamma")
@dataclass(frozen=True)
class Gamma(Change):
    """Another gamma curve, x′ = x^(1 + strength)."""

    unit: ClassVar[str] = "the exponent above 1"
    levels: ClassVar[tuple[float, ...]] = (0.1, 0.25, 0.5, 1.0)
    strongest: ClassVar[float] = 9.0

    strength: float = 0.5

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels of another curve."""
        return pixels.double() ** (1 + self.strength)
