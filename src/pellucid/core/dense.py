"""Tensors that callers give have values: none is on the device "meta", and none is sparse."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import ShapeError


def dense(tensor: Tensor, name: str) -> Tensor:
    """The tensor, which messages call ``name``, if its values can be read.

    Raises:
        ShapeError: it is on the device "meta", or sparse.
    """
    if tensor.is_meta:
        raise ShapeError(
            f"{name}: a tensor with values was expected, got {tuple(tensor.shape)} on the device 'meta', which holds "
            "none: compute it on the CPU or a GPU"
        )
    if tensor.layout is not torch.strided:
        raise ShapeError(f"{name}: a dense tensor was expected, got {tensor.layout}: write {name}.to_dense()")
    return tensor
