"""Images and maps drawn anew on a grid that is turned or stretched about the centre."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Matrix = Sequence[Sequence[float]]
"""Where a pixel's value is taken from: the offsets from the centre, in pixels, are multiplied by it; axis by axis."""


def sampled(values: Tensor, matrix: Matrix) -> Tensor:
    """Values (B, C, *space) at other positions: linear between pixels, and beyond the edge that of the edge."""
    sides = values.shape[2:]
    # torch counts axes from the last, and in units of half a side
    rows = [
        [matrix[to][source] * sides[source] / sides[to] for source in reversed(range(len(sides)))] + [0.0]
        for to in reversed(range(len(sides)))
    ]
    theta = torch.tensor(rows, dtype=torch.float64, device=values.device).expand(len(values), -1, -1)
    grid = F.affine_grid(theta, list(values.shape), align_corners=False)
    return F.grid_sample(values.double(), grid, mode="bilinear", padding_mode="border", align_corners=False).to(values)


def within(space: Sequence[int], matrix: Matrix) -> Tensor:
    """Which positions (*space) are within the grid once they are multiplied by the matrix."""
    axes = [torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in space]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    moved = offsets @ torch.tensor(matrix, dtype=torch.float64).T
    limits = torch.tensor([side / 2 for side in space], dtype=torch.float64)
    return (moved.abs() <= limits).all(-1)


def turned(axes: int, degrees: float) -> Matrix:
    """A rotation in the plane of the last two of ``axes`` axes."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    found = [[float(row == column) for column in range(axes)] for row in range(axes)]
    found[-2][-2:], found[-1][-2:] = [cosine, -sine], [sine, cosine]
    return found


def stretched(axes: int, factor: float) -> Matrix:
    """The same factor along all axes."""
    return [[factor * (row == column) for column in range(axes)] for row in range(axes)]
