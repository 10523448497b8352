"""Changed copies of images: each image with noise, which is the same for every image, however many a metric gets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Variant
from pellucid.errors import OptionError

Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]
"""(shape, generator) → noise."""


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise between −1 and 1."""
    return torch.rand(shape, generator=generator).mul_(2).sub_(1)


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal noise."""
    return torch.randn(shape, generator=generator)


def noisy(cases: Cases, draw: Draw, size: float, count: int) -> Variant:
    """``count`` copies of each image x with noise: x + ``size`` · (max x − min x) · noise."""
    images = cases.images
    levels = images.flatten(1)
    spread = size * (levels.amax(1) - levels.amin(1)).reshape(-1, *(1,) * (images.ndim - 1))
    seeds = torch.randint(2**62, (count,), generator=cases.generator()).tolist()

    def grain(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seeds[step])
        return draw((1, *images.shape[1:]), generator).to(images)

    def variant(numbers: Tensor, steps: Tensor) -> Tensor:
        parts = [(step, numbers[steps == step]) for step in dict.fromkeys(steps.tolist())]
        return torch.cat([images[own] + spread[own] * grain(step) for step, own in parts])

    return variant


def check_noise(samples: int, name: str, size: float) -> None:
    """Raise ``OptionError`` unless there is at least one copy, and noise that is no less than 0."""
    if samples < 1:
        raise OptionError(f"samples must be at least 1, got {samples}")
    if not size >= 0:
        raise OptionError(f"{name} must be at least 0, got {size}")
