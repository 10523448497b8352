"""Blur: a Gaussian mean over neighbouring pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.change import Change, register_change
from pellucid.core.space import gaussian

_CUT = 4
"""Where the Gaussian is cut off, in standard deviations."""


@register_change("blur")
@dataclass(frozen=True)
class Blur(Change):
    """A Gaussian blur along each spatial axis, of standard deviation ``strength``; edges are continued.

    x′ = Σ_k w_k x(· + k), w_k ∝ exp(−k² / (2 strength²)) for |k| ≤ 4 strength, with the value of the edge beyond it.
    """

    unit: ClassVar[str] = "the Gaussian's standard deviation, in pixels of the model's input"
    levels: ClassVar[tuple[float, ...]] = (0.5, 1.0, 2.0, 4.0)
    strongest: ClassVar[float] = 256.0

    strength: float = 1.0

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels that are means."""
        smooth, reach = pixels.double(), math.ceil(_CUT * self.strength)
        for axis in range(2, pixels.ndim):
            smooth = gaussian(smooth, axis, self.strength, reach, beyond="replicate")
        return smooth
