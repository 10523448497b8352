"""Reads several files of one study as the channels of one image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.io import read
from pellucid.io.refusal import refused
from pellucid.io.selection import Select
from pellucid.io.series import read_slices, slices_in
from pellucid.models.preprocessing import Preprocessing

_TOLERANCE = 0.05
"""Allowed distance between the same pixel of two channels, as a share of the smallest spacing."""


def matches(path: Path, name: str) -> bool:
    """Whether an entry of a folder has this name, or fits it as a pattern (``*_t1.nii``)."""
    return not path.name.startswith(".") and (path.name == name or fnmatchcase(path.name, name))


def read_channels(
    folder: Path,
    names: Sequence[str],
    window: str | None = None,
    frame: int | None = None,
    select: Select | None = None,
) -> Image:
    """Read one file, or folder of slices, for each of ``names`` as an image whose channels they are, in this order.

    The result is to be prepared. Its ``original`` is the first file's image, on which results are drawn, with the
    SHA-256 of all files' digests. A colour file becomes its luminance. A single file is read as it is.

    Raises:
        ImageError: a file is missing, cannot be read, fits two names, has another size than the first, or lies
            elsewhere in the patient.
    """
    paths = [path for _, path in channel_paths(folder, names)]
    images = [_read(path, window, frame, select) for path in paths]
    if len(images) == 1:
        return images[0]
    _check_alike(folder, paths, images)
    grey = Preprocessing(channels=1)
    pixels = torch.cat([grey(image).pixels for image in images])
    digests = "".join(image.digest or "" for image in images)
    first = replace(images[0], digest=hashlib.sha256(digests.encode()).hexdigest())
    files = [
        {"file": path.name, "sha256": image.digest, **image.provenance}
        for path, image in zip(paths, images, strict=True)
    ]
    values = [image.values if len(image.values) == 1 else grey(image).pixels for image in images]
    return Image(pixels, torch.cat(values), Geometry.identity(images[0].size), {"channels": files}, first)


def channel_paths(folder: Path, names: Sequence[str]) -> list[tuple[str, Path]]:
    """Each name with the one entry of a folder that it fits. ``ImageError``: there is none, or several."""
    entries = _entries(folder)
    paths: list[Path] = []
    for name in names:
        fitting = [path for path in entries if matches(path, name)]
        if not fitting:
            raise refused(folder, f"it holds no {name}, one of --channels: put it there, or name what is there")
        if len(fitting) > 1 or fitting[0] in paths:
            found = ", ".join(path.name for path in fitting[:3])
            several = f"{name} fits {len(fitting)} files" if len(fitting) > 1 else f"{name} fits another name's file"
            raise refused(folder, f"of --channels {several} ({found}): name each file once")
        paths += fitting
    return list(zip(names, paths, strict=True))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise refused(folder, error.strerror or error) from error


def _read(path: Path, window: str | None, frame: int | None, select: Select | None) -> Image:
    if not path.is_dir():
        return read(path, window, frame, select)
    if frame is not None:
        raise refused(path, f"frame {frame} was asked for; its slices are one volume: give no --frame")
    found, _ = slices_in(path)
    return read_slices(path, found, window, select)


def _check_alike(folder: Path, paths: Sequence[Path], images: Sequence[Image]) -> None:
    """Refuse channels whose pixels are not at the same positions; the message names two of them."""
    first, *others = images
    for path, image in zip(paths[1:], others, strict=True):
        names = f"{paths[0].name} and {path.name}"
        if image.size != first.size:
            sizes = " and ".join(" × ".join(map(str, each.size)) for each in (first, image))
            raise refused(folder, f"{names} have {sizes} pixels: resample them to the same grid")
        if (image.affine is None) != (first.affine is None):
            raise refused(folder, f"of {names} only one states its position in the patient: convert the other")
        if _distance(first, image) > _TOLERANCE * min(first.spacing or (1.0,)):
            raise refused(
                folder, f"{names} are not at the same position in the patient: resample them to the same grid"
            )


def _distance(first: Image, other: Image) -> float:
    """The largest distance, in mm, between the positions that two images give their corners; 0 without positions."""
    if first.affine is None or other.affine is None:
        return 0.0
    moved = (first.affine - other.affine).double()[:3]
    return max(float((moved @ corner).norm()) for corner in _corners(first.size))


def _corners(size: Sequence[int]) -> Iterator[Tensor]:
    """The corners of a grid as (column, row, slice, 1)."""
    for ends in product(*((0, side - 1) for side in size[::-1])):
        yield torch.tensor([*ends, *(0,) * (3 - len(size)), 1], dtype=torch.float64)
