"""Plants findings: their sizes, their positions in the lungs, and the density they add."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.phantom.fields import Scene, between, chosen, smooth_noise, step

FINDINGS = ("nodule", "consolidation", "cavity")
SIZES = ("small", "medium", "large")

Range = tuple[float, float]
Sources = Callable[[str], torch.Generator]
"""The random generator of a purpose, such as one finding."""
_CANDIDATES = 256
_LUNG = 0.5
"""The share of lung from which a pixel belongs to it."""
_TRIES = 3000
"""Draws of a size and a position before a region is given up."""
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


def planted(kinds: Sequence[str], scene: Scene, scale: Scale, sources: Sources) -> list[Lesion]:
    """Plant findings in the lungs without overlap, those with the largest possible radius first.

    Each has random numbers of its own: what a finding is drawn with does not depend on the others.
    """
    lesions: list[Lesion] = []
    for kind in sorted(kinds, key=lambda kind: -scale.radii[kind][-1][1]):
        source = sources(kind)
        size = chosen(len(SIZES), source)
        radius = between(*scale.radii[kind][size], source)
        centre = _centre(scene.lungs, _inside(kind, radius), radius, lesions, source)
        added, mask = _drawn(kind, centre, radius, between(*scale.contrast[kind], source), scene, source)
        lesions.append(Lesion(FINDINGS.index(kind), size, radius, centre, added, mask))
    return lesions


def planted_within(
    kind: str, region: Tensor, others: Sequence[Lesion], scene: Scene, scale: Scale, source: torch.Generator
) -> Lesion | None:
    """Plant a finding as ``planted`` would, given that it changes nothing outside ``region`` (*space) bool.

    Rejection sampling: a size and radius r as ``planted`` draws them, and a position in the region. ``planted`` takes
    each position with the density 1/A(r), where A(r) is the area in which a lesion of that radius fits, so a draw
    counts with A(largest)/A(r). None where no draw of many fitted.
    """
    here = (region & (scene.lungs > _LUNG)).nonzero()
    largest = _room(scene.lungs, kind, scale.radii[kind][-1][1], others, source)
    for _ in range(_TRIES if len(here) else 0):
        size = chosen(len(SIZES), source)
        radius = between(*scale.radii[kind][size], source)
        centre = (here[chosen(len(here), source)] + 0.5) / torch.tensor(region.shape)
        if not _is_good(centre[None], radius, kind, scene.lungs, others)[0]:
            continue
        added, mask = _drawn(kind, centre, radius, between(*scale.contrast[kind], source), scene, source)
        counts = between(0, 1, source) * _room(scene.lungs, kind, radius, others, source) < max(
            largest, 1 / _CANDIDATES
        )
        if counts and not bool(((added != 0) & ~region).any()):
            return Lesion(FINDINGS.index(kind), size, radius, centre, added, mask)
    return None


def _is_good(centres: Tensor, radius: float, kind: str, lungs: Tensor, others: Sequence[Lesion]) -> Tensor:
    """At which centres (N, rank) a lesion lies in the lung and clear of the others, (N,) bool."""
    return (_lung_around(centres, lungs, _inside(kind, radius)) > _LUNG) & (_gaps(centres, radius, others) > 0)


def _room(lungs: Tensor, kind: str, radius: float, others: Sequence[Lesion], source: torch.Generator) -> float:
    """The share of the lungs at which a lesion of that radius fits."""
    return float(_is_good(_candidates(lungs, source), radius, kind, lungs, others).float().mean())


def _inside(kind: str, radius: float) -> float:
    """How far around its centre a finding needs lung."""
    return radius * (0.6 if kind == "consolidation" else 1)


def _centre(lungs: Tensor, inside: float, radius: float, others: Sequence[Lesion], source: torch.Generator) -> Tensor:
    """Return a centre (rank,) in fractions of the sides, with lung within ``inside`` of it and clear of the others."""
    centres = _candidates(lungs, source)
    fits, gap = _lung_around(centres, lungs, inside), _gaps(centres, radius, others)
    good = (fits > _LUNG) & (gap > 0)
    # If no candidate satisfies both, avoiding overlap is more important than lying wholly in the lung.
    return centres[int(good.nonzero()[0]) if good.any() else int((fits + 100 * gap.clamp(max=0)).argmax())]


def _candidates(lungs: Tensor, source: torch.Generator) -> Tensor:
    """Random pixel centres in the lungs, (N, rank), in fractions of the sides."""
    pixels = (lungs > _LUNG).nonzero()
    chance = torch.rand(_CANDIDATES, generator=source)
    return (pixels[(chance * len(pixels)).long()] + 0.5) / torch.tensor(lungs.shape)


def _lung_around(centres: Tensor, lungs: Tensor, inside: float) -> Tensor:
    """The smallest share of lung at a distance of ``inside`` around each centre, (N,)."""
    space = torch.tensor(lungs.shape)
    steps = torch.tensor([step for step in itertools.product((-1, 0, 1), repeat=lungs.ndim) if any(step)])
    directions = steps / steps.float().norm(dim=1, keepdim=True)
    rim = ((centres[:, None] + inside * directions) * space).long().clamp(min=0).minimum(space - 1)
    return lungs[tuple(rim.unbind(-1))].amin(1)


def _gaps(centres: Tensor, radius: float, others: Sequence[Lesion]) -> Tensor:
    """How far a lesion at each centre would be from the nearest of the others, (N,)."""
    gaps = [(centres - other.centre).norm(dim=1) - other.radius - radius - _APART for other in others]
    return torch.stack(gaps).amin(0) if gaps else torch.ones(len(centres))


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
