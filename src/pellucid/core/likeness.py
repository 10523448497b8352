"""Which images show the same: copies, other exports, and neighbouring frames of one examination."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ALIKE = 0.99
"""The correlation of two images' thumbnails from which they count as one.

Different drawn radiographs have .984 at most; scans of a public set of ultrasound that were taken twice, .991.
"""
_SIDE = 32


def alike(images: Tensor, others: Tensor) -> Tensor:
    """Which of others (R, C, *space) are near-duplicates of images (P, C, *space): (P, R) bool.

    Both are averaged in at most 32 cells a side, and correlated over cells and channels. Images that are even are alike
    if they are equal.
    """
    equal = torch.stack([(others == image).flatten(1).all(1) for image in images])
    return equal | (_thumbnails(images) @ _thumbnails(others).T >= ALIKE)


def _thumbnails(images: Tensor) -> Tensor:
    """Cells of images with mean 0 and length 1, (N, cells); 0 where an image is even."""
    space = images.shape[2:]
    size = [min(side, _SIDE) for side in space]
    cells = F.interpolate(images.float(), size=size, mode="area").flatten(1)
    centred = cells - cells.mean(1, keepdim=True)
    return F.normalize(centred, dim=1)
