"""Where findings are, as callers give it: masks of several forms become one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.errors import ShapeError

Masks = Tensor | npt.NDArray[Any] | Sequence[Any]


def masks_of(given: Masks | None, count: int, columns: int, space: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Masks (B, K, *space) bool, and which images and classes have one, (B, K) bool.

    Raises:
        ShapeError: a mask has another size than the images, or values other than 0 and 1.
    """
    shape = (count, columns, *space)
    if given is None:
        return torch.zeros(shape, dtype=torch.bool), torch.zeros(count, columns, dtype=torch.bool)
    if isinstance(given, Sequence):
        raise NotImplementedError
    masks = torch.from_numpy(np.ascontiguousarray(given)) if isinstance(given, np.ndarray) else given
    masks = masks[:, None] if masks.ndim == len(space) + 1 else masks
    if masks.ndim != len(shape) or tuple(masks.expand(-1, columns, *masks.shape[2:]).shape) != shape:
        raise ShapeError(f"masks {tuple(masks.shape)} were given; {shape} (images, classes, *space) were expected")
    return (masks != 0).expand(shape), torch.ones(count, columns, dtype=torch.bool)
