"""One image of a set: its scene, its findings, its exposure and its noise, each from random numbers of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from pellucid.core.numbers import is_seed, is_whole
from pellucid.errors import OptionError, did_you_mean
from pellucid.phantom import chest, thorax
from pellucid.phantom.fields import Scene, between, chosen, generator
from pellucid.phantom.lesions import (
    FINDINGS,
    RADIOGRAPH,
    VOLUME,
    Lesion,
    Scale,
    drawn_kinds,
    planted,
    planted_within,
)

SMALLEST = 16
"""The smallest side, in pixels, at which findings are visible."""
CLASSES = ("none", *FINDINGS)
"""The classes of an exclusive set."""


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
    origin: tuple[Scenes, Request] | None = field(default=None, repr=False)
    """How they were drawn; None of images that ``redraw`` made."""

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.images)

    @property
    def classes(self) -> Tensor:
        """The index into ``CLASSES`` of images with one finding at most, (B,) int64; −1 for images with several."""
        several = self.labels.sum(1) > 1
        return torch.where(self.labels.any(1), 1 + self.labels.int().argmax(1), 0).masked_fill(several, -1)


@dataclass(frozen=True)
class Request:
    """What a set is drawn from, with its checks."""

    count: int
    space: tuple[int, ...]
    seed: int
    findings: tuple[str, ...] | None
    marker: float
    exclusive: bool

    def check(self) -> None:
        """Refuse counts and seeds that are not possible."""
        if not is_whole(self.count) or self.count < 1:
            raise OptionError(f"count={self.count!r} was asked for; at least 1 image can be drawn")
        if not is_seed(self.seed):
            raise OptionError(
                f"seed={self.seed!r} was asked for; it is a whole number from 0, below 2 to the power of 63"
            )

    def source(self, index: int, purpose: str) -> torch.Generator:
        """The random numbers of one purpose for image ``index``."""
        return generator(self.seed, index, purpose)

    def kinds(self, index: int) -> tuple[str, ...]:
        """The findings of image ``index``."""
        if self.findings is not None:
            return self.findings
        source = self.source(index, "kinds")
        if not self.exclusive:
            return drawn_kinds(source)
        number = chosen(len(CLASSES), source)
        return CLASSES[number : number + 1] if number else ()


class _Patient(Protocol):
    def __call__(self, space: Sequence[int], source: torch.Generator, /) -> Scene: ...


@dataclass(frozen=True, eq=False)
class Drawn:
    """One image (*space), the scene and the findings that it shows, and its marker."""

    scene: Scene
    image: Tensor
    lesions: Sequence[Lesion]
    marker: Tensor


@dataclass(frozen=True)
class Scenes:
    """How the scenes of a kind of image are drawn."""

    patient: _Patient
    scale: Scale

    def image(self, request: Request, index: int) -> Drawn:
        """Draw image ``index``."""
        scene = self.patient(request.space, request.source(index, "anatomy"))
        lesions = planted(request.kinds(index), scene, self.scale, partial(request.source, index))
        image = _exposed(scene, lesions, request.source(index, "exposure"), request.source(index, "noise"))
        source = request.source(index, "marker")
        shown = torch.zeros(request.space, dtype=torch.bool)
        if "consolidation" in request.kinds(index) and between(0, 1, source) < request.marker:
            shown = letter(scene.positions, source)
            image = torch.where(shown, between(0.9, 1.0, source), image)
        return Drawn(scene, image, lesions, shown)

    def again(  # the image, and what changes in it
        self, request: Request, index: int, before: Drawn, region: Tensor, seed: int, kinds: Sequence[str]
    ) -> Drawn:
        """Draw image ``index`` again within a region, with findings of some kinds there."""
        lesions = [lesion for lesion in before.lesions if not _is_within(lesion, region)]
        for kind in sorted(kinds, key=lambda kind: -self.scale.radii[kind][-1][1]):
            if any(FINDINGS[lesion.kind] == kind for lesion in lesions):
                raise OptionError(f"a {kind} was asked for in the region; image {index} has one elsewhere already")
            source = request.source(index, f"{kind} again {seed}")
            found = planted_within(kind, region, lesions, before.scene, self.scale, source)
            if found is None:
                raise OptionError(f"a {kind} was asked for in the region; none fits: give a larger region of lung")
            lesions.append(found)
        noise = request.source(index, f"noise again {seed}")
        image = _exposed(before.scene, lesions, request.source(index, "exposure"), noise)
        image = torch.where(region & ~before.marker, image, before.image)
        return Drawn(before.scene, image, lesions, before.marker)


def extent(drawn: Drawn, kind: str) -> Tensor:
    """The pixels that a finding of an image changes, (*space) bool."""
    for lesion in drawn.lesions:
        if FINDINGS[lesion.kind] == kind:
            return lesion.added != 0
    raise OptionError(f"region {kind!r} was asked for; the image has no {kind}: give a mask")


def _is_within(lesion: Lesion, region: Tensor) -> bool:
    """Whether a finding changes pixels within a region; raises where it changes others as well."""
    changed = lesion.added != 0
    if not bool((changed & region).any()):
        return False
    if bool((changed & ~region).any()):
        kind = FINDINGS[lesion.kind]
        raise OptionError(f"the region cuts the {kind}; give one that has all of it or none, such as {kind!r}")
    return True


def gathered(scenes: Scenes, request: Request, drawn: Iterable[Drawn], count: int | None = None) -> Phantoms:
    """A set of drawn images; ``count`` is given where they are not those that were asked for first."""
    total, kinds, space = request.count if count is None else count, len(FINDINGS), request.space
    made = Phantoms(
        torch.empty(total, 1, *space),
        torch.zeros(total, kinds, *space, dtype=torch.bool),
        torch.zeros(total, kinds, dtype=torch.bool),
        torch.full((total, kinds), -1),
        torch.zeros(total, kinds),
        torch.zeros(total, *space, dtype=torch.bool),
        (scenes, request) if count is None else None,
    )
    for index, one in enumerate(drawn):
        made.images[index, 0], made.markers[index] = one.image, one.marker
        for lesion in one.lesions:
            made.masks[index, lesion.kind] = lesion.mask
            made.labels[index, lesion.kind] = True
            made.sizes[index, lesion.kind] = lesion.size
            made.radii[index, lesion.kind] = lesion.radius
    return made


def _exposed(scene: Scene, lesions: Sequence[Lesion], source: torch.Generator, grain: torch.Generator) -> Tensor:
    """Convert density to brightness in [0, 1]: gain · density^γ plus haze and noise."""
    density = scene.density
    for lesion in lesions:
        density = density + lesion.added
    gain, gamma, haze = between(1.1, 1.35, source), between(0.9, 1.15, source), between(0.02, 0.08, source)
    noise = between(0.012, 0.028, source) * torch.randn(density.shape, generator=grain)
    return (haze + gain * density.clamp(min=0) ** gamma + noise).clamp(0, 1)


def letter(positions: Tensor, source: torch.Generator) -> Tensor:
    """Return the mask of the letter L, or of Γ, in the upper left corner; ``positions`` (2, H, W) are from 0 to 1."""
    y, x = positions - torch.tensor([between(0.03, 0.05, source), between(0.03, 0.05, source)])[:, None, None]
    foot = 0.075 if between(0, 1, source) < 0.5 else 0.0
    strokes: Tensor = ((x < 0.022) & (y < 0.097)) | ((x < 0.06) & (y >= foot) & (y < foot + 0.022))
    return torch.logical_and(strokes, (x >= 0) & (y >= 0))


def space_of(size: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """The sides of the images."""
    sides = tuple(size) if isinstance(size, Sequence) else (size,) * rank
    if len(sides) != rank or not all(is_whole(side) and side >= SMALLEST for side in sides):
        raise OptionError(
            f"size={size!r} was asked for; give {rank} sides, or one for all axes, of at least {SMALLEST}"
        )
    return sides


def kinds_of(findings: Sequence[str] | None) -> tuple[str, ...] | None:
    """The kinds of findings that were asked for; None: they are drawn."""
    if findings is None:
        return None
    if isinstance(findings, str) or not isinstance(findings, Iterable):
        one = findings if isinstance(findings, str) else FINDINGS[0]
        raise OptionError(f"findings={findings!r} was asked for; give a sequence of them, as in ({one!r},)")
    for kind in findings:
        if kind not in FINDINGS:
            raise OptionError(
                f"finding {kind!r} was asked for; there are {', '.join(FINDINGS)}{did_you_mean(str(kind), FINDINGS)}"
            )
    if len(set(findings)) < len(findings):
        raise OptionError(f"findings={tuple(findings)} were asked for; an image has each at most once")
    return tuple(findings)


RADIOGRAPHS = Scenes(chest.patient, RADIOGRAPH)
VOLUMES = Scenes(thorax.patient, VOLUME)
