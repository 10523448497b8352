"""Replicas of the methods that wrap another method."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tests.replicas.naive import REPLICAS, SEED, Target, replica
from tests.replicas.naive_cam import CAMS, first_component


def noisy(image: Tensor, samples: int, noise: float) -> Iterator[Tensor]:
    """Copies of an image with Gaussian noise, whose standard deviation is ``noise`` times the image's range."""
    generator = torch.Generator().manual_seed(SEED)
    spread = float(image.max() - image.min())
    for _ in range(samples):
        drawn = torch.randn((1, *image.shape), generator=generator)[0].to(image.dtype)
        yield image + noise * spread * drawn


def noisy_maps(
    model: nn.Module, image: Tensor, target: Target, layer: str, method: str, samples: int, noise: float
) -> list[Tensor]:
    """The maps of the noisy copies."""
    return [REPLICAS[method](model, copy, target, layer) for copy in noisy(image, samples, noise)]


@replica("smoothgrad")
def smoothgrad(
    model: nn.Module,
    image: Tensor,
    target: Target,
    layer: str,
    method: str = "saliency",
    samples: int = 16,
    noise: float = 0.15,
) -> Tensor:
    """Smilkov et al. 2017: the mean of the noisy copies' maps."""
    maps = noisy_maps(model, image, target, layer, method, samples, noise)
    return sum(maps) / samples


@replica("smoothgrad_squared")
def smoothgrad_squared(
    model: nn.Module,
    image: Tensor,
    target: Target,
    layer: str,
    method: str = "saliency",
    samples: int = 16,
    noise: float = 0.15,
) -> Tensor:
    """Hooker et al. 2019: the mean of the squares of the noisy copies' maps."""
    maps = noisy_maps(model, image, target, layer, method, samples, noise)
    return sum(values * values for values in maps) / samples


@replica("vargrad")
def vargrad(
    model: nn.Module,
    image: Tensor,
    target: Target,
    layer: str,
    method: str = "saliency",
    samples: int = 16,
    noise: float = 0.15,
) -> Tensor:
    """Adebayo et al. 2018: the variance of the noisy copies' maps."""
    maps = noisy_maps(model, image, target, layer, method, samples, noise)
    mean = sum(maps) / samples
    return sum((values - mean) * (values - mean) for values in maps) / samples


@replica("aug_smooth")
def aug_smooth(model: nn.Module, image: Tensor, target: Target, layer: str, method: str = "gradcam") -> Tensor:
    """The mean over the image, darker and brighter by a tenth, each also mirrored, its map mirrored back."""
    maps = []
    for factor in (0.9, 1.0, 1.1):
        maps.append(REPLICAS[method](model, factor * image, target, layer))
        mirrored = torch.flip(factor * image, dims=[-1])
        maps.append(torch.flip(REPLICAS[method](model, mirrored, target, layer), dims=[-1]))
    return sum(maps) / 6


@replica("eigen_smooth")
def eigen_smooth(model: nn.Module, image: Tensor, target: Target, layer: str, method: str = "gradcam") -> Tensor:
    """The first component of the products of weights and channels, each centred, and its positive part."""
    weights, channels = CAMS[method](model, image, target, layer)
    products = [weight * channel for weight, channel in zip(weights, channels, strict=True)]
    return first_component(torch.stack([product - product.mean() for product in products])).clamp(min=0)
