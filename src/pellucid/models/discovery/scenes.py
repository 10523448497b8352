"""Generated images that stand in for real ones: unlike noise, they move a network's scores as images do.

A scene is a background whose amplitude falls with the frequency, as that of photographs and radiographs does, with
smooth ellipsoids of random places, sizes and contrasts on it. Every scene is the same in every process.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.space import upsample

_FALL = 1.5
"""The power of the frequency with which the amplitude falls."""
_OBJECTS = 6
_RADII = (0.02, 0.22)
_CONTRAST = 2.0
_SHARPNESS = 6.0
_AREAS = 2


def scenes(count: int, like: Tensor) -> Tensor:
    """``count`` scenes with the channels, size, device and type of images (B, C, *space); each has mean 0, spread 1."""
    generator = torch.Generator().manual_seed(0)
    each = [_scene(tuple(like.shape[1:]), generator) for _ in range(count)]
    return torch.stack(each).to(like.device, like.dtype)


def _scene(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One scene (C, *space). Its channels are alike, as those of a photograph are."""
    channels, *size = shape
    common = _background(size, generator) + _objects(size, generator)
    own = torch.stack([_background(size, generator) for _ in range(channels)]) if channels > 1 else 0.0
    scene = common.expand(channels, *size) + 0.3 * own
    return ((scene - scene.mean()) / scene.std().clamp(min=1e-6)).float()


def _background(size: list[int], generator: torch.Generator) -> Tensor:
    frequencies = [torch.fft.fftfreq(side).double() for side in size]
    distance = torch.stack(torch.meshgrid(*frequencies, indexing="ij")).square().sum(dim=0).sqrt()
    amplitude = distance.clamp(min=1 / max(size)) ** -_FALL
    noise = torch.randn(size, generator=generator).double()
    background: Tensor = torch.fft.ifftn(torch.fft.fftn(noise) * amplitude).real
    return background / background.std().clamp(min=1e-6)


def _objects(size: list[int], generator: torch.Generator) -> Tensor:
    places = torch.meshgrid(*(torch.linspace(0, 1, side).double() for side in size), indexing="ij")
    total = torch.zeros(size, dtype=torch.float64)
    for _ in range(_OBJECTS):
        drawn = torch.rand(2 * len(size) + 1, generator=generator).tolist()
        centre, radii, contrast = drawn[: len(size)], drawn[len(size) : -1], drawn[-1]
        least, most = _RADII
        parts = [
            ((place - at) / (least + (most - least) * radius**2)) ** 2
            for place, at, radius in zip(places, centre, radii, strict=True)
        ]
        within = torch.sigmoid((1 - torch.stack(parts).sum(dim=0)) * _SHARPNESS)
        total += _CONTRAST * (2 * contrast - 1) * within
    return total


def without_details(images: Tensor) -> Tensor:
    """Images (B, C, *space) of which only the means of large areas are left, interpolated."""
    coarse = F.interpolate(images.float(), (_AREAS,) * (images.ndim - 2), mode="area")
    return upsample(coarse, images.shape[2:]).to(images.dtype)
