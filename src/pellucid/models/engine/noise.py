"""Noise to look into a network by: what is found then depends on the network alone."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_like(tensor: Tensor) -> Tensor:
    """Normal noise of a tensor's shape, device and type, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)
