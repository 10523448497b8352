"""Seeded noise as a network's input, so that its properties are found independently of any image."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.models.session.session import Session


def noise_like(tensor: Tensor) -> Tensor:
    """Normal noise of a tensor's shape, device and dtype, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tensor.shape, generator=generator).to(tensor.device, tensor.dtype)


def noise_image(inputs: Inputs) -> Inputs:
    """One image of noise in place of the first one; further inputs stay as they are."""
    image = inputs[:1]
    return image.with_images(noise_like(image.images))


def without_zeros(session: Session) -> Session:
    """A session whose all-zero weights are replaced by noise, so that gradients are informative.

    Torchvision's untrained ViT head starts at zero. It is the session itself where there is no such weight.
    """
    weights = () if session.has_script else session.network.parameters()
    if not any(map(_is_zero, weights)):
        return session
    return session.with_parameters(lambda weight: noise_like(weight) if _is_zero(weight) else None)


def _is_zero(weight: Tensor) -> bool:
    return weight.ndim > 1 and not weight.any()
