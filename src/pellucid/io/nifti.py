"""Reads NIfTI volumes and slices with nibabel."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ImageError, message_of
from pellucid.io.memory import check_memory
from pellucid.io.nifti_axes import volume_index
from pellucid.io.optional import NIBABEL
from pellucid.io.reader import Reader, WindowLike
from pellucid.io.refusal import refused
from pellucid.io.selection import Select
from pellucid.io.window import NoWindowError, Window, asked_window, whole_range

_ENDINGS = (".nii", ".nii.gz")
_MAX_OFFSET = 2**24
"""Maximum number of bytes, header and extensions, before the values."""


def is_nifti(path: Path) -> bool:
    """Whether a file name is that of a NIfTI file. The content of a compressed one would show only that it is gzip."""
    return path.name.lower().endswith(_ENDINGS)


def read_nifti(path: Path, window: WindowLike = None, frame: int | None = None, select: Select | None = None) -> Image:
    """Read a NIfTI file: a volume (1, D, H, W), or a slice (1, H, W); ``frame``, from 1, is the slice to read.

    ``select`` names one of several volumes by its number, from 1, on the axes after the third: time, axis5 and so on.

    The axes are the file's in reversed order: slices, rows, columns; none is flipped. ``values`` are scaled by the
    file's slope and intercept; ``pixels`` are the values through the ``window``, else scaled from their minimum to
    their maximum. ``affine`` is the file's: it maps (column, row, slice) to the patient.

    Raises:
        ImageError: the file is broken or too large, or holds colours, or several volumes and none was selected.
        MissingPackageError: nibabel is not installed.
        OptionError: the window is invalid.
    """
    values, affine, zooms = _read(path, select or {})
    if frame is not None:
        values, affine, zooms = _one_slice(path, values, affine, zooms, frame)
    values = torch.where(values.isfinite(), values, 0)
    shown: dict[str, Any] = {"voi": "range", "window": None}
    if window is not None:
        applied = _window(path, window)
        shown = {"voi": applied.function, "window": [applied.centre, applied.width]}
        pixels = applied(values)
    else:
        pixels = whole_range(values, torch.ones_like(values, dtype=torch.bool))
    facts = {"format": "NIfTI", "inverted": False, **shown}
    return Image(pixels, values, Geometry.identity(tuple(values.shape[1:])), facts, None, zooms, affine)


def _read(path: Path, select: Select) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """The values (1, *space), the affine, and the spacing."""
    nibabel = NIBABEL.load("NIfTI")
    try:
        _check_offset(path)
        file = nibabel.load(path)
        shape = tuple(int(length) for length in file.shape)
        if len(shape) < 2 or file.get_data_dtype().kind not in "iuf":
            raise refused(path, f"it holds {shape} values of {file.get_data_dtype()}; volumes of numbers are expected")
        if min(shape) < 1:
            raise refused(path, f"its header states {shape} values; an image has at least one")
        index, shape = volume_index(path, shape, select), shape[:3]
        check_memory(path, 1, *shape)
        shape = shape[:2] if shape[2:] == (1,) else shape
        stored = file.dataobj[(..., *index)] if index else file.dataobj
        array = np.asarray(stored, dtype=np.float32).reshape(shape, order="F")
        affine = torch.from_numpy(np.asarray(file.affine, dtype=np.float64))
        zooms = tuple(float(zoom) for zoom in file.header.get_zooms()[: len(shape)])[::-1]
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # hostile bytes raise errors of every kind
        raise refused(path, f"it is a broken NIfTI file ({message_of(error)})") from error
    return torch.from_numpy(array.T.copy())[None], affine, zooms


def _window(path: Path, window: str | tuple[float, float]) -> Window:
    try:
        return asked_window(window, "")
    except NoWindowError as error:
        raise refused(path, error) from None


def _check_offset(path: Path) -> None:
    """Refuse a file whose values begin far behind its header: nibabel would read everything in between."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        head = file.read(540)
    for order in ("<", ">"):
        for size, position, kind in ((348, 108, "f"), (540, 168, "q")):
            if len(head) >= position + 8 and struct.unpack_from(f"{order}i", head)[0] == size:
                offset = struct.unpack_from(f"{order}{kind}", head, position)[0]
                if not 0 <= offset <= _MAX_OFFSET:
                    raise refused(path, f"its values begin at byte {offset:.0f}; at most {_MAX_OFFSET:,} is allowed")


def _one_slice(
    path: Path, values: Tensor, affine: Tensor, zooms: tuple[float, ...], frame: int
) -> tuple[Tensor, Tensor, tuple[float, ...]]:
    """The values, the affine and the spacing of one slice, by its number from 1."""
    slices = values if values.ndim == 4 else values[:, None]
    if not 1 <= frame <= slices.shape[1]:
        raise refused(path, f"slice {frame} was asked for; it has {slices.shape[1]}, counted from 1")
    moved = affine.clone()
    moved[:, 3] += (frame - 1) * affine[:, 2]
    return slices[:, frame - 1], moved, zooms[-2:]


READER = Reader(("NIfTI",), _ENDINGS, accepts=lambda path, _: is_nifti(path), read=read_nifti)
