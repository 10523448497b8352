"""Looking into a network by noise: what is found then depends on the network alone."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.models.engine.session import Session


def noise_like(tensor: Tensor) -> Tensor:
    """Normal noise of a tensor's shape, device and type, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)


def without_zeros(session: Session) -> Session:
    """The network with noise in weights that are all zero: torchvision's untrained ViT head lets nothing through."""
    zeros = {name: p for name, p in session.network.named_parameters() if p.ndim > 1 and not p.any()}
    return session.with_parameters({name: noise_like(p) for name, p in zeros.items()})
