"""Noise: a normal random number is added to each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.changes._channels import is_grey
from pellucid.core.change import Change, register_change


@register_change("noise")
@dataclass(frozen=True)
class Noise(Change):
    """Additive noise, x′ = clip(x + strength · n) with n normal of variance 1 and independent at each pixel.

    An image whose channels are equal gets the same noise in all of them. The noise of an image is the same at every
    strength but for its size.
    """

    unit: ClassVar[str] = "the noise's standard deviation, of pixels in [0, 1]"
    levels: ClassVar[tuple[float, ...]] = (0.01, 0.02, 0.05, 0.1)
    strongest: ClassVar[float] = 1.0

    strength: float = 0.05

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Pixels with noise."""
        drawn = [_noise(image, generator) for image, generator in zip(pixels, generators, strict=True)]
        return pixels + self.strength * torch.stack(drawn).to(pixels)


def _noise(image: Tensor, generator: torch.Generator) -> Tensor:
    shape = (1, *image.shape[1:]) if is_grey(image) else image.shape
    return torch.randn(shape, generator=generator).expand(image.shape)
