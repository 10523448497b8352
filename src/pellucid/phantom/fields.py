"""What the drawings are made of: places, soft steps, smooth noise, and a generator for every purpose."""

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
    [0, 1]: how much of a pixel is lung that nothing lies in front of. ``places`` (rank, *space): the pixels'
    centres in fractions of the sides, first axis first.
    """

    density: Tensor
    lungs: Tensor
    places: Tensor


def generator(seed: int, index: int, purpose: str) -> torch.Generator:
    """Give the generator of one purpose ("anatomy", "findings", …) for image ``index`` of a seed.

    Each is seeded by a hash of the three, so that an image depends neither on how many are drawn nor, but for
    the findings themselves, on what is planted in it.
    """
    digest = hashlib.blake2b(f"{seed}/{index}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)


def between(low: float, high: float, source: torch.Generator) -> float:
    """Draw a number from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=source))


def chosen(count: int, source: torch.Generator) -> int:
    """Draw a whole number from 0 to count − 1."""
    return int(torch.randint(count, (), generator=source))


def places(space: Sequence[int]) -> Tensor:
    """Give the pixels' centres (rank, *space) in fractions of the sides: (i + ½) / side."""
    axes = [(torch.arange(side) + 0.5) / side for side in space]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def step(low: float | Tensor, high: float | Tensor, values: Tensor) -> Tensor:
    """Rise smoothly from 0 at ``low`` to 1 at ``high``: t² (3 − 2t) with t = (v − low) / (high − low) in [0, 1]."""
    t = ((values - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def bell(distance: Tensor, width: float) -> Tensor:
    """Give (1 − (d / 2w)²)₊⁴: a Gaussian exp(−(d / w)²) that ends, and that is faster to compute."""
    near = (1 - (distance / (2 * width)).square()).clamp(min=0).square()
    return near.square()


def smooth_noise(cells: int, space: Sequence[int], source: torch.Generator) -> Tensor:
    """Draw smooth noise (*space) of mean about 0 and deviation below 1, with ``cells`` knots a side."""
    knots = torch.randn(1, 1, *(cells,) * len(space), generator=source)
    return F.interpolate(knots, tuple(space), mode=_MODES[len(space)], align_corners=True)[0, 0]


def turned(points: Tensor, degrees: float) -> Tensor:
    """Turn (y, x), the first axis of ``points`` (2, ...), around the origin."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    y, x = points
    return torch.stack([cosine * y + sine * x, cosine * x - sine * y])
