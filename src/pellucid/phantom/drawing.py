"""Draws synthetic chest radiographs and volumes with planted findings, whose masks are the ground truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import shorten
from typing import SupportsIndex

import torch
from torch import Tensor

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.numbers import is_number, is_seed, is_whole
from pellucid.errors import OptionError
from pellucid.phantom.scene import (
    RADIOGRAPHS,
    VOLUMES,
    Drawn,
    Phantoms,
    Request,
    Scenes,
    extent,
    gathered,
    kinds_of,
    space_of,
)

__all__ = ["Phantoms", "radiographs", "redraw", "volumes"]


@on_cpu_by_default
def radiographs(  # two are the size of the set, the others what is in it
    count: int,
    size: int = 128,
    seed: int = 0,
    findings: Sequence[str] | None = None,
    marker: float = 0.0,
    exclusive: bool = False,
) -> Phantoms:
    """Draw ``count`` schematic frontal chest radiographs of ``size`` × ``size`` pixels, not for clinical use.

    ``findings`` are the kinds that every image has, () for healthy images. With None each image has each finding
    independently with probability 0.4, and at most two; with ``exclusive`` one of the four ``CLASSES`` (none of the
    findings, or one of them) with equal probability. ``marker`` is the probability that an image with a consolidation
    has a bright letter in its upper left corner, a shortcut that a network can learn; no other image has one. Image i
    depends on ``seed`` and i only: not on ``count``, and its anatomy, exposure and noise not on the findings. Findings
    that are named are drawn as those that were not, so that naming what an image has changes nothing.
    ``OptionError``: an unknown finding, or a number out of range.

    >>> phantoms = radiographs(4, findings=("nodule",))
    >>> phantoms.images.shape, phantoms.masks.shape, phantoms.labels[0].tolist()
    (torch.Size([4, 1, 128, 128]), torch.Size([4, 3, 128, 128]), [True, False, False])
    >>> radiographs(6, exclusive=True).classes
    tensor([0, 1, 1, 0, 2, 1])
    """
    if not is_number(marker) or not 0 <= marker <= 1:
        raise OptionError(f"marker={marker!r} was asked for; it is a probability, from 0 to 1")
    return _drawn(RADIOGRAPHS, Request(count, space_of(size, 2), seed, _kinds(findings, exclusive), marker, exclusive))


@on_cpu_by_default
def volumes(
    count: int,
    size: int | Sequence[int] = (32, 64, 64),
    seed: int = 0,
    findings: Sequence[str] | None = None,
    exclusive: bool = False,
) -> Phantoms:
    """Draw ``count`` CT-like chest volumes of ``size`` (D, H, W), or of one size along all axes.

    They have the findings of ``radiographs`` in three dimensions, and no markers. D always spans the whole chest: radii
    are fractions of each axis' own side. ``OptionError``: as for ``radiographs``.

    >>> volumes(2, size=32, findings=()).images.shape
    torch.Size([2, 1, 32, 32, 32])
    """
    return _drawn(VOLUMES, Request(count, space_of(size, 3), seed, _kinds(findings, exclusive), 0.0, exclusive))


def _kinds(findings: Sequence[str] | None, exclusive: bool) -> tuple[str, ...] | None:
    kinds = kinds_of(findings)
    if exclusive and kinds is not None:
        raise OptionError(f"exclusive=True and findings={kinds} were asked for; leave one of them out")
    return kinds


def _drawn(scenes: Scenes, request: Request) -> Phantoms:
    request.check()
    # One at a time: the rounding of sums over a batch could depend on its size.
    return gathered(scenes, request, (scenes.image(request, index) for index in range(request.count)))


@on_cpu_by_default
def redraw(
    phantoms: Phantoms, index: int, region: Tensor | str, seeds: Iterable[SupportsIndex], findings: Sequence[str] = ()
) -> Phantoms:
    """Draw image ``index`` of ``phantoms`` again within a region, once for each of ``seeds``: with or without findings.

    ``region`` is a mask (*space) bool, or the name of a finding that the image has: the pixels that it changes. The
    findings wholly within the region are taken out, those named in ``findings`` are drawn anew with the sizes and
    positions that fit into it, and the noise there is drawn anew. Everything else of the scene, its anatomy, its
    exposure and the findings elsewhere, stays as it is, and outside the region no bit of the image changes: the result
    is a draw from the distribution of such images given the drawn scene. Labels, masks, sizes and radii are those of
    the new images.

    Raises:
        OptionError: the region cuts a finding, or no finding of the kind fits into it; or an argument is out of range.

    >>> phantoms = radiographs(3, seed=1, findings=("nodule",))
    >>> without = redraw(phantoms, 0, "nodule", seeds=range(5))
    >>> without.labels.any().item(), (without.images[:, 0] != phantoms.images[0, 0]).any(0).sum() < 400
    (False, tensor(True))
    """
    scenes, request = _origin(phantoms, index)
    numbers = _numbers(seeds)
    kinds = kinds_of(findings) or ()
    before = scenes.image(request, index)
    area = _area(before, region)
    again = (scenes.again(request, index, before, area, seed, kinds) for seed in numbers)
    return gathered(scenes, request, again, len(numbers))


def _numbers(seeds: object) -> list[int]:
    """The seeds, which may be an array or a tensor."""
    given = list(seeds) if isinstance(seeds, Iterable) and getattr(seeds, "ndim", 1) != 0 else []
    numbers = [seed.tolist() if hasattr(seed, "tolist") else seed for seed in given]
    if not numbers or not all(is_seed(seed) for seed in numbers):
        raise OptionError(
            f"seeds={shorten(repr(seeds), 60)} was asked for; give a sequence of whole numbers from 0, as in range(10)"
        )
    return numbers


def _origin(phantoms: Phantoms, index: int) -> tuple[Scenes, Request]:
    """What image ``index`` was drawn from."""
    if phantoms.origin is None:
        raise OptionError(
            "phantoms were given that do not know how they were drawn; redraw those of radiographs or volumes"
        )
    if not is_whole(index) or not 0 <= index < len(phantoms):
        raise OptionError(f"index={index!r} was asked for; there are images 0 to {len(phantoms) - 1}")
    return phantoms.origin


def _area(drawn: Drawn, region: Tensor | str) -> Tensor:
    """The pixels of a region, (*space) bool."""
    if isinstance(region, str):
        kinds_of((region,))
        return extent(drawn, region)
    space = tuple(drawn.image.shape)
    if not isinstance(region, Tensor) or region.dtype != torch.bool or tuple(region.shape) != space:
        found = f"{tuple(region.shape)} {region.dtype}" if isinstance(region, Tensor) else shorten(repr(region), 60)
        raise OptionError(f"region {found} was given; give a mask {space} of bool, or the name of a finding")
    return region
