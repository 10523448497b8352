"""Quantisation: fewer grey levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.change import Change, register_change

_BITS = 8


@register_change("quantisation")
@dataclass(frozen=True)
class Quantisation(Change):
    """Values rounded to 2^(8 − strength) levels from black to white, x′ = round(x (n − 1)) / (n − 1).

    ``strength`` is a number of bits, of which a strength of 0 drops none and rounds nothing.
    """

    unit: ClassVar[str] = "the bits of 8 that are dropped"
    levels: ClassVar[tuple[float, ...]] = (2.0, 4.0, 5.0, 6.0)
    strongest: ClassVar[float] = 7.0

    strength: float = 4.0

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels at the nearest of the levels."""
        steps = round(2 ** (_BITS - self.strength)) - 1
        return (pixels.double() * steps).round() / steps
