"""The budgets of attacks: the images that are allowed, exact to the last bit, and the steepest step within them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pellucid.core.attack import Subject
from pellucid.errors import OptionError

_SHRINK = 2.0**-20
"""By how much a change whose rounded length is above the budget is made shorter first, then by twice as much."""


class Ball(Protocol):
    """The allowed images around those of a subject; ``rows`` (N,) are the numbers of the images."""

    def nearest(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """The allowed images nearest to these, (N, C, *space)."""

    def step(self, gradients: Tensor) -> Tensor:
        """The change of length 1 along which gradients (N, C, *space) rise most."""

    def start(self, generator: torch.Generator) -> Tensor:
        """Random images, (B, C, *space), which are not yet within the range: each changed alike, whatever the batch."""


@dataclass(frozen=True, eq=False)
class Box:
    """max |x′ − x| ≤ ε, and within the range: bounds of each pixel, rounded inwards."""

    pixels: Tensor
    epsilon: float
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, subject: Subject, epsilon: float) -> Box:
        """The box around the images of a subject. ``OptionError``: the budget is larger than the range."""
        _check_range(epsilon, subject.widest)
        return cls(
            subject.pixels,
            epsilon,
            torch.maximum(_inwards(subject.pixels, -epsilon), subject.low),
            torch.minimum(_inwards(subject.pixels, epsilon), subject.high),
        )

    def nearest(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """Each pixel at its nearest bound where it is beyond."""
        return torch.minimum(torch.maximum(pixels, self.low[rows]), self.high[rows])

    def step(self, gradients: Tensor) -> Tensor:
        """The gradients' signs."""
        return gradients.sign()

    def start(self, generator: torch.Generator) -> Tensor:
        """Each pixel uniformly from −ε to ε."""
        noise = torch.rand(self.pixels.shape[1:], generator=generator, dtype=torch.float32).to(self.pixels)
        return self.pixels + self.epsilon * (2 * noise - 1)


@dataclass(frozen=True, eq=False)
class Sphere:
    """‖x′ − x‖₂ ≤ ε over the whole image, and within the range."""

    pixels: Tensor
    epsilon: float
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, subject: Subject, epsilon: float) -> Sphere:
        """The sphere around the images of a subject. ``OptionError``: the budget is larger than the range."""
        shape = subject.pixels.shape
        _check_range(epsilon, subject.widest * math.sqrt(shape[1:].numel()))
        return cls(subject.pixels, epsilon, subject.low.expand(shape), subject.high.expand(shape))

    def nearest(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """The change shortened to ε, then each pixel within the range, which makes it no longer."""
        clean = self.pixels[rows]
        change = pixels - clean
        factor = (self.epsilon / lengths(change).clamp(min=1e-300)).clamp(max=1)
        found = self._in_range(clean + change * _column(factor, change), rows)
        less = _SHRINK
        while (beyond := lengths(exact(found) - exact(clean)) > self.epsilon).any():  # by rounding alone
            shorter = self._in_range(clean + (found - clean) * (1 - less), rows)
            found, less = torch.where(_column(beyond, found), shorter, found), min(1.0, 2 * less)
        return found

    def step(self, gradients: Tensor) -> Tensor:
        """The gradients divided by their lengths, each pixel's that is not finite taken as 0; 0 for a gradient of 0."""
        finite = torch.where(torch.isfinite(gradients), gradients, torch.zeros_like(gradients))
        # By their largest part first: the square of a small gradient is 0, and that of a large one infinite.
        unit = finite / _column(finite.flatten(1).abs().amax(1), finite).clamp(min=torch.finfo(finite.dtype).tiny)
        norms = lengths(unit)
        return unit / _column(torch.where(norms > 0, norms, torch.ones_like(norms)), unit)

    def start(self, generator: torch.Generator) -> Tensor:
        """Uniformly within the ball: a normal direction, and a length ε u^(1/d) with u from 0 to 1."""
        noise = torch.randn(self.pixels[:1].shape, generator=generator, dtype=torch.float32)
        share = torch.rand(1, generator=generator, dtype=torch.float32) ** (1 / max(1, noise.numel()))
        return self.pixels + (_column(self.epsilon * share / lengths(noise), noise) * noise).to(self.pixels)

    def _in_range(self, pixels: Tensor, rows: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(pixels, self.low[rows]), self.high[rows])


def begun(ball: Ball, subject: Subject, seed: int | None) -> Tensor:
    """Where a search begins: at a random change of the images by a seed, not yet within the range; None: at the images.

    The change is the same for each image, so that an image is attacked alone as in any batch.
    """
    return subject.pixels if seed is None else ball.start(torch.Generator().manual_seed(seed))


def step_of(epsilon: float, step_size: float | None) -> float:
    """The length of a step: a quarter of the budget where none is given."""
    return epsilon / 4 if step_size is None else step_size


def _check_range(epsilon: float, widest: float) -> None:
    if epsilon > widest:
        raise OptionError(
            f"epsilon {epsilon:g} was given; pixels are in [0, 1], so that a change is at most {widest:.4g}: of grey "
            "levels from 0 to 255 write 8 / 255"
        )


def lengths(changes: Tensor) -> Tensor:
    """The Euclidean lengths (N,) of changes (N, …), in float64."""
    found: Tensor = torch.linalg.vector_norm(exact(changes).flatten(1), dim=1)
    return found


def exact(values: Tensor) -> Tensor:
    """The values in float64, in which differences of pixels are exact; on the CPU where the device lacks it."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Values (N,) with axes of length 1, for tensors (N, …)."""
    shaped = values.reshape(-1, *(1,) * (like.ndim - 1)).to(like.device)
    return shaped if values.dtype == torch.bool else shaped.to(like.dtype)


def _inwards(pixels: Tensor, change: float) -> Tensor:
    """Pixels + change as their type holds it, never further away from the pixels than the change."""
    moved = (exact(pixels) + change).to(pixels)
    beyond = (exact(moved) - exact(pixels)).abs() > abs(change)
    return torch.where(beyond.to(moved.device), torch.nextafter(moved, pixels), moved)
