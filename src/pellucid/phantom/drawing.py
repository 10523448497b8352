"""Draws synthetic chest radiographs and volumes with planted findings, whose masks are the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pellucid.errors import OptionError, did_you_mean
from pellucid.phantom import chest, thorax
from pellucid.phantom.fields import Scene, between, generator
from pellucid.phantom.lesions import FINDINGS, RADIOGRAPH, VOLUME, Lesion, Scale, drawn_kinds, planted

SMALLEST = 16
"""The smallest side, in pixels, at which findings are visible."""


@dataclass(frozen=True, eq=False)
class Phantoms:
    """B drawn images and their planted findings, in the order of ``FINDINGS``.

    | field | shape | |
    | --- | --- | --- |
    | ``images`` | (B, 1, *space) float32 | in [0, 1]; bright is dense |
    | ``masks`` | (B, 3, *space) bool | the extent of each finding; empty if the image does not have it |
    | ``labels`` | (B, 3) bool | the findings that an image has |
    | ``sizes`` | (B, 3) int64 | the index into ``SIZES`` (small, medium, large); −1 if absent |
    | ``radii`` | (B, 3) float32 | in fractions of the side; 0 if absent |
    | ``markers`` | (B, *space) bool | the letter in the corner; empty if there is none |
    """

    images: Tensor
    masks: Tensor
    labels: Tensor
    sizes: Tensor
    radii: Tensor
    markers: Tensor

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.images)


def radiographs(
    count: int, size: int = 128, seed: int = 0, findings: Sequence[str] | None = None, marker: float = 0.0
) -> Phantoms:
    """Draw ``count`` schematic frontal chest radiographs of ``size`` × ``size`` pixels, not for clinical use.

    ``findings`` are the kinds that every image has, () for healthy images. With None each image has each finding
    independently with probability 0.4, and at most two. ``marker`` is the probability that an image with a
    consolidation has a bright letter in its upper left corner, a shortcut that a network can learn; no other image has
    one. Image i depends on ``seed`` and i only: not on ``count``, and its anatomy and noise not on the findings.
    ``OptionError``: an unknown finding, or a number out of range.

    >>> phantoms = radiographs(4, findings=("nodule",))
    >>> phantoms.images.shape, phantoms.masks.shape, phantoms.labels[0].tolist()
    (torch.Size([4, 1, 128, 128]), torch.Size([4, 3, 128, 128]), [True, False, False])
    """
    if not 0 <= marker <= 1:
        raise OptionError(f"marker={marker} was asked for; it is a probability, from 0 to 1")
    return _drawn(_Request(count, _space(size, 2), seed, _kinds(findings), marker), chest.patient, RADIOGRAPH)


def volumes(
    count: int, size: int | Sequence[int] = (32, 64, 64), seed: int = 0, findings: Sequence[str] | None = None
) -> Phantoms:
    """Draw ``count`` CT-like chest volumes of ``size`` (D, H, W), or of one size along all axes.

    They have the findings of ``radiographs`` in three dimensions, and no markers. D always spans the whole chest: radii
    are fractions of each axis' own side. ``OptionError``: as for ``radiographs``.

    >>> volumes(2, size=32, findings=()).images.shape
    torch.Size([2, 1, 32, 32, 32])
    """
    return _drawn(_Request(count, _space(size, 3), seed, _kinds(findings), 0.0), thorax.patient, VOLUME)


@dataclass(frozen=True)
class _Request:
    """The options of one call, with their checks."""

    count: int
    space: tuple[int, ...]
    seed: int
    findings: tuple[str, ...] | None
    marker: float

    def check(self) -> None:
        if not isinstance(self.count, int) or self.count < 1:
            raise OptionError(f"count={self.count!r} was asked for; at least 1 image can be drawn")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise OptionError(f"seed={self.seed!r} was asked for; it is a whole number from 0")


class _Patient(Protocol):
    def __call__(self, space: Sequence[int], source: torch.Generator, /) -> Scene: ...


def _drawn(request: _Request, patient: _Patient, scale: Scale) -> Phantoms:
    request.check()
    count, space, kinds = request.count, request.space, len(FINDINGS)
    made = Phantoms(
        torch.empty(count, 1, *space),
        torch.zeros(count, kinds, *space, dtype=torch.bool),
        torch.zeros(count, kinds, dtype=torch.bool),
        torch.full((count, kinds), -1),
        torch.zeros(count, kinds),
        torch.zeros(count, *space, dtype=torch.bool),
    )
    # One at a time: the rounding of sums over a batch could depend on its size.
    for index in range(count):
        _draw(request, patient, scale, made, index)
    return made


def _draw(request: _Request, patient: _Patient, scale: Scale, made: Phantoms, index: int) -> None:
    """Draw image ``index`` into its rows."""
    scene = patient(request.space, generator(request.seed, index, "anatomy"))
    source = generator(request.seed, index, "findings")
    kinds = drawn_kinds(source) if request.findings is None else request.findings
    lesions = planted(kinds, scene, scale, source)
    image = _exposed(scene, lesions, generator(request.seed, index, "exposure"))
    source = generator(request.seed, index, "marker")
    if "consolidation" in kinds and between(0, 1, source) < request.marker:
        made.markers[index] = _letter(scene.positions, source)
        image = torch.where(made.markers[index], between(0.9, 1.0, source), image)
    made.images[index, 0] = image
    for lesion in lesions:
        made.masks[index, lesion.kind] = lesion.mask
        made.labels[index, lesion.kind] = True
        made.sizes[index, lesion.kind] = lesion.size
        made.radii[index, lesion.kind] = lesion.radius


def _exposed(scene: Scene, lesions: Sequence[Lesion], source: torch.Generator) -> Tensor:
    """Convert density to brightness in [0, 1]: gain · density^γ plus haze and noise."""
    density = scene.density
    for lesion in lesions:
        density = density + lesion.added
    gain, gamma, haze = between(1.1, 1.35, source), between(0.9, 1.15, source), between(0.02, 0.08, source)
    noise = torch.randn(density.shape, generator=source) * between(0.012, 0.028, source)
    return (haze + gain * density.clamp(min=0) ** gamma + noise).clamp(0, 1)


def _letter(positions: Tensor, source: torch.Generator) -> Tensor:
    """Return the mask of the letter L, or of Γ, in the upper left corner."""
    y, x = positions - torch.tensor([between(0.03, 0.05, source), between(0.03, 0.05, source)])[:, None, None]
    foot = 0.075 if between(0, 1, source) < 0.5 else 0.0
    strokes: Tensor = ((x < 0.022) & (y < 0.097)) | ((x < 0.06) & (y >= foot) & (y < foot + 0.022))
    return torch.logical_and(strokes, (x >= 0) & (y >= 0))


def _space(size: int | Sequence[int], rank: int) -> tuple[int, ...]:
    sides = tuple(size) if isinstance(size, Sequence) else (size,) * rank
    if len(sides) != rank or not all(isinstance(side, int) and side >= SMALLEST for side in sides):
        raise OptionError(
            f"size={size!r} was asked for; give {rank} sides, or one for all axes, of at least {SMALLEST}"
        )
    return sides


def _kinds(findings: Sequence[str] | None) -> tuple[str, ...] | None:
    if findings is None:
        return None
    if isinstance(findings, str):
        raise OptionError(f"findings={findings!r} was asked for; give a sequence of them, as in ({findings!r},)")
    for kind in findings:
        if kind not in FINDINGS:
            raise OptionError(
                f"finding {kind!r} was asked for; there are {', '.join(FINDINGS)}{did_you_mean(str(kind), FINDINGS)}"
            )
    if len(set(findings)) < len(findings):
        raise OptionError(f"findings={tuple(findings)} were asked for; an image has each at most once")
    return tuple(findings)
