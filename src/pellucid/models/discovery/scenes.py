"""Generated images that stand in for real ones: unlike noise, they move a network's scores as images do.

A scene is a background whose amplitude falls with the frequency, as that of photographs and radiographs does, with
smooth ellipsoids of random places, sizes and contrasts on it. Every scene is the same in every process.
"""

from __future__ import annotations

from collections.abc import Iterable

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
_CONTRASTS, _BRIGHTNESS, _COLOUR = 0.5, 0.7, 0.5
"""How much scenes differ in contrast, brightness and colour."""
_AREAS = 2


def scenes(numbers: Iterable[int], like: Tensor) -> Tensor:
    """The scenes of these numbers, with the channels, size, device and type of images (B, C, *space).

    Their mean is about 0 and their spread about 1.
    """
    each = [_scene(tuple(like.shape[1:]), torch.Generator().manual_seed(number)) for number in numbers]
    return torch.stack(each).to(like.device, like.dtype)


def _scene(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One scene (C, *space). Its channels are alike, as those of a photograph are."""
    channels, *size = shape
    common = _background(size, generator) + _objects(size, generator)
    own = torch.stack([_background(size, generator) for _ in range(channels)]) if channels > 1 else 0.0
    drawn = common.expand(channels, *size) + 0.3 * own
    plain = (drawn - drawn.mean()) / drawn.std().clamp(min=1e-6)
    contrast, brightness, *colour = torch.rand(2 + channels, generator=generator).mul(2).sub(1)
    tint = torch.stack(colour).reshape(channels, *(1,) * len(size))
    scene: Tensor = (1 + _CONTRASTS * contrast) * plain + _BRIGHTNESS * brightness + _COLOUR * tint
    return scene


def _background(size: list[int], generator: torch.Generator) -> Tensor:
    frequencies = [torch.fft.fftfreq(side) for side in size]
    distance = torch.stack(torch.meshgrid(*frequencies, indexing="ij")).square().sum(dim=0).sqrt()
    amplitude = distance.clamp(min=1 / max(size)) ** -_FALL
    noise = torch.randn(size, generator=generator)
    background: Tensor = torch.fft.ifftn(torch.fft.fftn(noise) * amplitude).real
    return background / background.std().clamp(min=1e-6)


def _objects(size: list[int], generator: torch.Generator) -> Tensor:
    places = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    total = torch.zeros(size)
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


def without_details(images: Tensor, areas: int = _AREAS) -> Tensor:
    """Images (B, C, *space) of which only the means of ``areas`` large areas along each axis are left, interpolated."""
    coarse = F.interpolate(images.float(), [min(areas, side) for side in images.shape[2:]], mode="area")
    return upsample(coarse, images.shape[2:]).to(images.dtype)
