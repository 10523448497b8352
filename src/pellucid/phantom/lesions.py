"""Plants findings: their sizes, their positions in the lungs, and the density they add."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.phantom.fields import Scene, between, chosen, smooth_noise, step

FINDINGS = ("nodule", "consolidation", "cavity")
SIZES = ("small", "medium", "large")

Range = tuple[float, float]
_CANDIDATES = 256
_APART = 0.02
_EXTENT = 0.25
"""The share of a lesion's contrast above which a pixel belongs to it."""


@dataclass(frozen=True)
class Scale:
    """The ranges of radii (fractions of the side, per size in ``SIZES``) and of added density, by kind of finding."""

    radii: Mapping[str, tuple[Range, Range, Range]]
    contrast: Mapping[str, Range]


RADIOGRAPH = Scale(
    radii={
        "nodule": ((0.026, 0.034), (0.034, 0.046), (0.046, 0.060)),
        "consolidation": ((0.075, 0.095), (0.095, 0.120), (0.120, 0.150)),
        "cavity": ((0.042, 0.054), (0.054, 0.070), (0.070, 0.090)),
    },
    contrast={"nodule": (0.17, 0.30), "consolidation": (0.16, 0.26), "cavity": (0.17, 0.30)},
)
VOLUME = Scale(
    radii={
        "nodule": ((0.040, 0.050), (0.050, 0.065), (0.065, 0.080)),
        "consolidation": ((0.080, 0.100), (0.100, 0.120), (0.120, 0.145)),
        "cavity": ((0.060, 0.075), (0.075, 0.095), (0.095, 0.115)),
    },
    contrast={"nodule": (0.25, 0.45), "consolidation": (0.20, 0.35), "cavity": (0.25, 0.45)},
)


@dataclass(frozen=True, eq=False)
class Lesion:
    """One planted finding: ``kind`` and ``size`` by index, ``radius`` in fractions of the side.

    ``added`` (*space) is the density it adds (negative in the middle of a cavity). ``mask`` (*space) is its extent:
    where it adds more than a quarter of its contrast, and everything inside a cavity's wall.
    """

    kind: int
    size: int
    radius: float
    centre: Tensor
    added: Tensor
    mask: Tensor


def drawn_kinds(source: torch.Generator, chance: float = 0.4) -> tuple[str, ...]:
    """Draw the findings of an image: each independently with the same probability, and at most two."""
    kinds = [kind for kind in FINDINGS if between(0, 1, source) < chance]
    left_out = chosen(len(FINDINGS), source)
    return tuple(kind for i, kind in enumerate(kinds) if len(kinds) < len(FINDINGS) or i != left_out)


def planted(kinds: Sequence[str], scene: Scene, scale: Scale, source: torch.Generator) -> list[Lesion]:
    """Plant findings in the lungs without overlap, those with the largest possible radius first."""
    lesions: list[Lesion] = []
    for kind in sorted(kinds, key=lambda kind: -scale.radii[kind][-1][1]):
        size = chosen(len(SIZES), source)
        radius = between(*scale.radii[kind][size], source)
        centre = _centre(scene.lungs, radius * (0.6 if kind == "consolidation" else 1), radius, lesions, source)
        added, mask = _drawn(kind, centre, radius, between(*scale.contrast[kind], source), scene, source)
        lesions.append(Lesion(FINDINGS.index(kind), size, radius, centre, added, mask))
    return lesions


def _centre(lungs: Tensor, inside: float, radius: float, others: Sequence[Lesion], source: torch.Generator) -> Tensor:
    """Return a centre (rank,) in fractions of the sides, with lung within ``inside`` of it and clear of the others."""
    space = torch.tensor(lungs.shape)
    pixels = (lungs > 0.5).nonzero()
    chance = torch.rand(_CANDIDATES, generator=source)
    centres = (pixels[(chance * len(pixels)).long()] + 0.5) / space
    steps = torch.tensor([step for step in itertools.product((-1, 0, 1), repeat=lungs.ndim) if any(step)])
    directions = steps / steps.float().norm(dim=1, keepdim=True)
    rim = ((centres[:, None] + inside * directions) * space).long().clamp(min=0).minimum(space - 1)
    fits = lungs[tuple(rim.unbind(-1))].amin(1)
    gaps = [(centres - other.centre).norm(dim=1) - other.radius - radius - _APART for other in others]
    gap = torch.stack(gaps).amin(0) if gaps else torch.ones(_CANDIDATES)
    good = (fits > 0.5) & (gap > 0)
    # If no candidate satisfies both, avoiding overlap is more important than lying wholly in the lung.
    return centres[int(good.nonzero()[0]) if good.any() else int((fits + 100 * gap.clamp(max=0)).argmax())]


def _drawn(
    kind: str, centre: Tensor, radius: float, contrast: float, scene: Scene, source: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the density that a finding adds, and its mask, both (*space)."""
    space = scene.lungs.shape
    away = scene.positions - centre.reshape(-1, *(1,) * len(space))
    distance = away.square().sum(0).sqrt() / radius
    if kind == "nodule":
        profile = 1 - step(0.6, 1.0, distance)
        return contrast * profile, profile > _EXTENT
    if kind == "cavity":
        ring = step(0.45, 0.62, distance) * (1 - step(0.82, 1.0, distance))
        return contrast * (ring - 0.25 * (1 - step(0.35, 0.6, distance))), distance < 0.93
    outline = 0.5 + 0.5 * torch.sigmoid(3 * smooth_noise(14, space, source))
    profile = (1 - step(0.3, 1.0, distance / outline)) * scene.lungs
    texture = 1 + 0.25 * smooth_noise(32, space, source).clamp(-1, 1)
    return contrast * profile * texture, profile > _EXTENT
