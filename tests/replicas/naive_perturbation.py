"""Replicas of methods that change the image and compare the scores."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from tests.replicas.naive import SEED, Target, interpolated, replica, score


@replica("occlusion")
def occlusion(
    model: nn.Module,
    image: Tensor,
    target: Target,
    layer: str,
    window: int | None = None,
    stride: int | None = None,
    baseline: float = 0.0,
) -> Tensor:
    """Zeiler & Fergus 2014: how far the score falls where a window is covered, the mean over the windows of a pixel."""
    size = image.shape[1:]
    window = math.ceil(min(size) / 8) if window is None else window
    stride = math.ceil(window / 2) if stride is None else stride
    total, count = torch.zeros(2, *size, dtype=image.dtype)
    with torch.no_grad():
        clean = score(model, image, target)
        for corner in itertools.product(*(starts(side, window, stride) for side in size)):
            covered = image.clone()
            inside = tuple(slice(start, start + window) for start in corner)
            covered[(slice(None), *inside)] = baseline
            total[inside] += clean - score(model, covered, target)
            count[inside] += 1
    return total / count


def starts(side: int, window: int, stride: int) -> list[int]:
    """The first pixels of the windows along an axis; the last window ends at the border."""
    found, start = [], 0
    while start + window < side:
        found.append(start)
        start += stride
    return [*found, max(side - window, 0)]


@replica("rise")
def rise(
    model: nn.Module,
    image: Tensor,
    target: Target,
    layer: str,
    masks: int = 1000,
    cells: int = 7,
    keep: float = 0.5,
) -> Tensor:
    """Petsiuk et al. 2018: Σ (z(x ⊙ m) − mean) m / (N p) over random smooth masks m."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = [smooth_mask(image.shape[1:], cells, keep, generator).to(image.dtype) for _ in range(masks)]
    with torch.no_grad():
        scores = [float(score(model, image * mask, target)) for mask in drawn]
    mean = sum(scores) / masks
    result = torch.zeros(image.shape[1:], dtype=image.dtype)
    for value, mask in zip(scores, drawn, strict=True):
        result += (value - mean) * mask
    return result / (masks * keep)


def smooth_mask(size: torch.Size, cells: int, keep: float, generator: torch.Generator) -> Tensor:
    """A random binary grid, resized to one cell more than the image; a random crop of the image's size of it."""
    steps = [math.ceil(side / cells) for side in size]
    coarse = (torch.rand((cells,) * len(size), generator=generator) < keep).float()
    mask = interpolated(coarse, [(cells + 1) * step for step in steps])
    for axis, (side, step) in enumerate(zip(size, steps, strict=True)):
        shift = int(torch.randint(0, step, (1,), generator=generator))
        mask = mask.narrow(axis, shift, side)
    return mask
