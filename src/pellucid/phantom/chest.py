"""Draws a patient's frontal chest radiograph as a density, without findings and before the exposure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.phantom.fields import Scene, bell, between, pixel_centres, rotated, smooth_noise, step

_RIBS = torch.linspace(0.10, 0.70, 9)[:, None, None]


def patient(space: Sequence[int], source: torch.Generator) -> Scene:
    """Draw one patient: outline, lungs, heart, spine, ribs, clavicles and vessels, with random variation.

    In the patient's own coordinates q runs down from 0 to 1, and p across, 0 in the middle and about ±0.45 at the skin.
    """
    fractions = pixel_centres(space)
    q, p = _own_coordinates(fractions, source)
    side = p.abs()
    air = _lungs(q, p, source)
    heart = _heart(q, p, source)
    density = _outline(q, side)
    bones = _bones(q, side, source) * step(0.0, 0.15, density)
    density = density * (1 - between(0.62, 0.72, source) * air)
    density = density + 0.8 * heart * (0.56 - density).clamp(min=0)
    density = density + _vessels(q, side, space, source) * air * (1 - heart) + bones
    tissue = 0.02 * smooth_noise(9, space, source) + 0.012 * smooth_noise(30, space, source)
    return Scene((density + tissue * step(0.0, 0.15, density)).clamp(min=0), air * (1 - heart), fractions)


def _own_coordinates(fractions: Tensor, source: torch.Generator) -> Tensor:
    middle = torch.tensor([between(0.49, 0.51, source), between(0.48, 0.52, source)])
    zoom = torch.tensor([between(0.96, 1.05, source), between(0.92, 1.05, source)])
    own = rotated(fractions - middle[:, None, None], between(-3, 3, source)) / zoom[:, None, None]
    return own + torch.tensor([0.5, 0.0])[:, None, None]


def _outline(q: Tensor, side: Tensor) -> Tensor:
    """Neck, shoulders and trunk, thinner towards the skin."""
    half = 0.13 + 0.35 * step(0.02, 0.24, q)
    thickness = (1 - (side / half) ** 2).clamp(min=0).sqrt()
    return (0.32 + 0.30 * thickness) * step(0.0, 0.02, half - side)


def _lungs(q: Tensor, p: Tensor, source: torch.Generator) -> Tensor:
    """Two half-drops, narrow at the top, that end at the domes of the diaphragm; the left one is slightly smaller."""
    air = torch.zeros_like(q)
    for sign in (-1, 1):
        apex, dome = between(0.10, 0.14, source), between(0.72, 0.77, source) + 0.015 * sign
        middle, width = between(0.205, 0.22, source), between(0.150, 0.165, source) - 0.006 * sign
        away = sign * p - middle
        half = width * (0.55 + 0.45 * step(apex, apex + 0.38, q))
        inward = torch.where(away < 0, 0.9, 1.0)
        height = (q - 0.5).abs() / (0.5 - apex)
        inside = 1 - (away.abs() / (half * inward)) ** 2.6 - height**3
        floor = dome + 0.06 * (away / width) + 0.10 * (away / width) ** 2 - 0.03
        air = torch.maximum(air, step(-0.05, 0.15, inside) * step(0.0, 0.025, floor - q))
    return air


def _heart(q: Tensor, p: Tensor, source: torch.Generator) -> Tensor:
    """The heart, larger on the right of the image, with the great vessels above it."""
    middle = torch.tensor([between(0.60, 0.63, source), between(0.035, 0.055, source)])[:, None, None]
    y, x = rotated(torch.stack([q, p]) - middle, between(20, 32, source))
    size = between(0.92, 1.06, source)
    body = step(-0.1, 0.3, 1 - (y / (0.120 * size)) ** 2 - (x / (0.150 * size)) ** 2)
    arch = step(-0.1, 0.3, 1 - ((q - 0.32) / 0.06) ** 2 - ((p - 0.045) / 0.05) ** 2)
    return torch.maximum(body, arch)


def _vessels(q: Tensor, side: Tensor, space: Sequence[int], source: torch.Generator) -> Tensor:
    """The hila, and vessels that become thinner with the distance from them."""
    away = ((q - between(0.44, 0.47, source)) ** 2 + (side - 0.09) ** 2).sqrt()
    strands = bell(smooth_noise(16, space, source), 0.35) + bell(smooth_noise(22, space, source), 0.3)
    return 0.10 * bell(away, 0.07) + 0.07 * strands * bell(away, 0.22)


def _bones(q: Tensor, side: Tensor, source: torch.Generator) -> Tensor:
    """Spine, posterior ribs (down and out), anterior ribs (down and in, fainter), and clavicles."""
    spacing, slope = between(0.95, 1.05, source), between(0.8, 1.2, source)
    beats = 0.75 + 0.25 * torch.cos(q * 2 * torch.pi / 0.062)
    spine = 0.07 * step(0.0, 0.015, 0.042 - side) * beats
    start = _RIBS * spacing + between(-0.015, 0.015, source)
    reach = step(0.0, 0.04, 0.385 - side) * step(0.03, 0.07, side)
    back = bell(q - (start - 0.05 + 1.4 * slope * (side - 0.10) ** 2), 0.013).amax(0)
    front = bell(q - (start + 0.22 - 0.5 * slope * side), 0.011).amax(0) * step(0.10, 0.16, side)
    collar = between(0.155, 0.175, source)
    clavicle = bell(q - (collar - 0.25 * (side - 0.05) + 0.5 * (side - 0.2).clamp(min=0) ** 2), 0.014)
    clavicle = clavicle * step(0.03, 0.05, side) * step(0.0, 0.03, 0.36 - side)
    strength = between(0.8, 1.2, source)
    return spine + strength * (0.055 * back * reach + 0.022 * front * reach + 0.09 * clavicle)
