"""Building blocks of the drawings: pixel coordinates, smooth steps, noise, and a random generator per purpose."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

_MODES = {2: "bicubic", 3: "trilinear"}


@dataclass(frozen=True, eq=False)
class Scene:
    """A patient before any finding is planted.

    ``density`` (*space) float32: 0 is air and about 0.7 the densest soft tissue. ``lungs`` (*space) float32 in
    [0, 1]: the share of a pixel that is unobstructed lung. ``positions`` (rank, *space): the pixel centres in fractions
    of the sides, first axis first.
    """

    density: Tensor
    lungs: Tensor
    positions: Tensor


def generator(seed: int, index: int, purpose: str) -> torch.Generator:
    """Return the random generator of one purpose ("anatomy", "findings", …) for image ``index`` of a seed.

    A hash of the three is its seed. An image therefore does not depend on the number of images, and its anatomy and
    noise do not depend on its findings.
    """
    digest = hashlib.blake2b(f"{seed}/{index}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def between(low: float, high: float, source: torch.Generator) -> float:
    """Draw a uniform number from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=source))


def chosen(count: int, source: torch.Generator) -> int:
    """Draw a whole number from 0 to count − 1."""
    return int(torch.randint(count, (), generator=source))


def pixel_centres(space: Sequence[int]) -> Tensor:
    """Return the pixel centres (rank, *space) in fractions of the sides: (i + ½) / side."""
    axes = [(torch.arange(side) + 0.5) / side for side in space]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def step(low: float | Tensor, high: float | Tensor, values: Tensor) -> Tensor:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``: t² (3 − 2t) with t = (v − low) / (high − low) in [0, 1]."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def bell(distance: Tensor, width: float) -> Tensor:
    """Return (1 − (d / 2w)²)₊⁴: like the Gaussian exp(−(d / w)²), with finite support and faster to compute."""
    near = (1 - (distance / (2 * width)).square()).clamp(min=0).square()
    return near.square()


def smooth_noise(cells: int, space: Sequence[int], source: torch.Generator) -> Tensor:
    """Draw smooth noise (*space) of mean near 0 and standard deviation below 1, with ``cells`` knots per side."""
    knots = torch.randn(1, 1, *(cells,) * len(space), generator=source)
    return F.interpolate(knots, tuple(space), mode=_MODES[len(space)], align_corners=True)[0, 0]


def rotated(points: Tensor, degrees: float) -> Tensor:
    """Rotate points (y, x), along the first axis of ``points`` (2, ...), about the origin."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    y, x = points
    return torch.stack([cosine * y + sine * x, cosine * x - sine * y])
