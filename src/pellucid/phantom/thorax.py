"""Draws a patient's chest as a CT-like volume of densities, without findings and before the noise."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.phantom.fields import Scene, bell, between, pixel_centres, smooth_noise, step


def patient(space: Sequence[int], source: torch.Generator) -> Scene:
    """Draw one patient: trunk, two lungs, heart, spine, ribs and vessels, with random variation.

    The axes are z (head to feet), y (front to back) and x (across), in fractions of the sides.
    """
    fractions = pixel_centres(space)
    z, y, x = fractions
    middle = between(0.48, 0.52, source)
    width, depth = between(0.44, 0.47, source), between(0.34, 0.38, source)
    radius = (((x - middle) / width) ** 2 + ((y - 0.5) / depth) ** 2).sqrt()
    lungs, heart = _lungs(z, y, x - middle, source), _heart(z, y, x - middle, source)
    density = 0.50 * step(0.0, 0.06, 1 - radius)
    density = density + _bones(z, y, x - middle, radius, source) * step(0.0, 0.3, density)
    visible = lungs * (1 - heart)
    density = density * (1 - visible) + visible * (0.10 + 0.40 * _vessels(space, source))
    tissue = 0.015 * smooth_noise(7, space, source) + 0.01 * smooth_noise(16, space, source)
    return Scene((density + tissue * step(0.0, 0.1, density)).clamp(min=0), visible, fractions)


def _lungs(z: Tensor, y: Tensor, x: Tensor, source: torch.Generator) -> Tensor:
    """Two ellipsoids, cut off below by the diaphragm."""
    air = torch.zeros_like(z)
    for sign in (-1, 1):
        middle, half = between(0.20, 0.215, source), between(0.155, 0.17, source)
        floor = between(0.84, 0.90, source)
        inside = 1 - ((sign * x - middle) / half) ** 2 - ((y - 0.49) / 0.26) ** 2 - ((z - 0.5) / 0.46) ** 2
        air = torch.maximum(air, step(-0.05, 0.12, inside) * step(0.0, 0.05, floor - z))
    return air


def _heart(z: Tensor, y: Tensor, x: Tensor, source: torch.Generator) -> Tensor:
    away = ((z - between(0.60, 0.66, source)) / 0.20) ** 2 + ((y - 0.40) / 0.14) ** 2
    return step(-0.05, 0.15, 1 - away - ((x - between(0.03, 0.05, source)) / 0.14) ** 2)


def _vessels(space: Sequence[int], source: torch.Generator) -> Tensor:
    """Tubes, where two smooth noise fields are both near zero."""
    first, second = smooth_noise(8, space, source), smooth_noise(8, space, source)
    return bell((first**2 + second**2).sqrt(), 0.16)


def _bones(z: Tensor, y: Tensor, x: Tensor, radius: Tensor, source: torch.Generator) -> Tensor:
    """The spine, and the ribs as oblique bands in a shell below the skin."""
    beats = 0.85 + 0.15 * torch.cos(z * 2 * torch.pi / 0.12)
    away = (x**2 + (y - 0.74) ** 2).sqrt()
    spine = 0.32 * step(0.0, 0.03, 0.065 - away) * beats
    bands = torch.cos((z - 0.25 * (0.5 - y) + between(0.0, 0.1, source)) * 2 * torch.pi / 0.1)
    return spine + 0.28 * bell(radius - 0.88, 0.04) * step(0.2, 0.7, bands)
