"""Reads NIfTI and MGH volumes and slices with nibabel."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
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
from pellucid.io.refusal import check_size, refused
from pellucid.io.selection import Select
from pellucid.io.window import NoWindowError, Window, asked_window, whole_range

_ENDINGS = (".nii", ".nii.gz", ".mgh", ".mgz")
_GZIP = b"\x1f\x8b"
_MOST_INFLATION = 1100
"""gzip inflates to at most 1,032 times the length."""
_HEADER = 544  # bytes, of the longest header that is recognised
_MAX_OFFSET = 2**24
"""Maximum number of bytes, header and extensions, before the values."""


@dataclass(frozen=True)
class _Volume:
    """The content of a file: ``values`` (1, *space), and its position in the patient, as ``Image`` states it.

    ``forms`` are NIfTI's two affines with their codes, as plain values, and ``pixdim`` the spacing that its header
    states, which may differ from the sform's; MGH has none of these.
    """

    values: Tensor
    affine: Tensor
    forms: dict[str, dict[str, Any]]
    pixdim: list[float] | None


def read_nifti(path: Path, window: WindowLike = None, frame: int | None = None, select: Select | None = None) -> Image:
    """Read a NIfTI or MGH file: a volume (1, D, H, W), or a slice (1, H, W); ``frame``, from 1, is the slice to read.

    ``select`` names one of several volumes by its number, from 1, on the axes after the third: time, axis5 and so on.

    The axes are the file's in reversed order: slices, rows, columns; none is flipped. ``values`` are scaled by the
    file's slope and intercept; ``pixels`` are the values through the ``window``, else scaled from their minimum to
    their maximum. What is not finite is no value: it is black, and has the lowest value. ``affine`` maps (column, row,
    slice) to the patient: NIfTI's sform if it has a code, else the qform, else what the header's spacing gives. Both
    forms and their codes are in the provenance.

    Raises:
        ImageError: the file is broken or too large, or holds colours, or several volumes and none was selected; its
            affine cannot be inverted.
        MissingPackageError: nibabel is not installed.
        OptionError: the window is invalid.
    """
    kind = "MGH" if _is_mgh(_start(path)) else "NIfTI"
    volume = _read(path, kind, select or {})
    if frame is not None:
        volume = _one_slice(path, volume, frame)
    known = volume.values.isfinite()
    lowest = volume.values[known].min() if known.any() else torch.zeros(())
    values = torch.where(known, volume.values, lowest)
    shown: dict[str, Any] = {"voi": "range", "window": None}
    if window is not None:
        applied = _window(path, window)
        shown = {"voi": applied.function, "window": [applied.centre, applied.width]}
        pixels = torch.where(known, applied(values), 0)
    else:
        pixels = whole_range(values, known)
    facts = {"format": kind, "inverted": False, "pixdim": volume.pixdim, **volume.forms, **shown}
    lengths = volume.affine[:3, :3].norm(dim=0).tolist()
    spacing = tuple(lengths[: values.ndim - 1][::-1])
    return Image(pixels, values, Geometry.identity(tuple(values.shape[1:])), facts, None, spacing, volume.affine)


def _start(path: Path) -> bytes:
    """The first bytes of a file, inflated if it is compressed; none if it cannot be inflated."""
    with path.open("rb") as raw:
        head = raw.read(_HEADER)
    if not head.startswith(_GZIP):
        return head
    with suppress(OSError, EOFError, ValueError), gzip.open(path) as file:
        return file.read(_HEADER)
    return b""


def _nifti_version(start: bytes) -> int | None:
    """1 or 2, of a file whose header and values are one; None if it is no such file."""
    for version, size, magic in ((1, 348, start[344:348]), (2, 540, start[4:8])):
        if magic.startswith(b"n+") and size in (int.from_bytes(start[:4], order) for order in ("little", "big")):
            return version
    return None


def _is_mgh(start: bytes) -> bool:
    """Whether a file begins as MGH does: version 1, four lengths, and one of the four types of values."""
    if len(start) < 24:
        return False
    version, *lengths, kind = struct.unpack_from(">6i", start)
    return version == 1 and min(lengths) > 0 and kind in (0, 1, 3, 4)


def _accepts(path: Path, head: bytes) -> bool:
    """Whether a file is NIfTI or MGH: by its content, or if that is broken by its name."""
    if path.name.lower().endswith(_ENDINGS):
        return True
    if not head.startswith((_GZIP, b"\x5c\x01", b"\x00\x00\x01\x5c", b"\x1c\x02", b"\x00\x00\x02\x1c", b"\0\0\0\1")):
        return False
    start = _start(path)
    return _nifti_version(start) is not None or _is_mgh(start)


def _read(path: Path, kind: str, select: Select) -> _Volume:
    """The values (1, *space), and where they are."""
    nibabel = NIBABEL.load(kind)
    start = _start(path)
    version = _nifti_version(start)
    if kind == "NIfTI" and version is None:
        raise refused(path, "it is broken, or not NIfTI in one file: save it as .nii or .nii.gz")
    kinds = {None: nibabel.MGHImage, 1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}
    try:
        _check_offset(path, start)
        with path.open("rb") as raw:
            is_packed = raw.read(2) == _GZIP
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if is_packed else raw
            file = kinds[version].from_stream(stream)
            stated = tuple(int(length) for length in file.shape)
            _check_numbers(path, file, stated)
            index, shape = volume_index(path, stated, select), _spatial(path, stated)
            _check_bytes(path, math.prod(stated) * file.get_data_dtype().itemsize, is_packed)
            stored = file.dataobj[(..., *index)] if index else file.dataobj
            array = np.asarray(stored, dtype=np.float32).reshape(shape, order="F")
        forms = {} if kind == "MGH" else {name: _form(file, name) for name in ("qform", "sform")}
        pixdim = None if kind == "MGH" else [float(step) for step in file.header["pixdim"][1:4]]
        affine = np.asarray(file.affine, dtype=np.float64)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # hostile bytes raise errors of every kind
        raise refused(path, f"it is a broken {kind} file ({message_of(error)})") from error
    _check_affine(path, affine)
    return _Volume(torch.from_numpy(array.T.copy())[None], torch.from_numpy(affine), forms, pixdim)


def _check_numbers(path: Path, file: Any, stated: Sequence[int]) -> None:
    """Refuse values that are no plain numbers, and a file without any."""
    if min(stated) < 1:
        raise refused(path, f"its header states {' × '.join(map(str, stated))} values; an image has at least one")
    kind = file.get_data_dtype()
    if kind.kind not in "iuf":
        noun = "colours" if kind.names else f"values of {kind}"
        raise refused(path, f"it holds {noun}; numbers are expected: save one of its components as a file of its own")


def _spatial(path: Path, stated: Sequence[int]) -> tuple[int, ...]:
    """The lengths of the spatial axes, (columns, rows) or (columns, rows, slices), without a last one of length 1."""
    shape = tuple(stated[:3])
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) < 2:
        raise refused(path, f"it holds {shape[0]} values in a row; an image has rows and columns")
    check_size(path, shape[1], shape[0])
    check_memory(path, 1, *shape)
    return shape


def _form(file: Any, name: str) -> dict[str, Any]:
    """One of NIfTI's two affines with its code, as plain values; code 0 if it is not stated or cannot be used."""
    try:
        affine, code = getattr(file, f"get_{name}")(coded=True)
    except Exception:  # nibabel raises errors of several kinds for a qform that is no rotation
        affine, code = None, 0
    if affine is None or not _is_invertible(np.asarray(affine)):
        return {"code": 0, "affine": None}
    return {"code": int(code), "affine": np.asarray(affine, dtype=np.float64).tolist()}


def _is_invertible(affine: np.ndarray[Any, Any]) -> bool:
    """Whether an affine is finite and its axes span the space; the lengths of the axes do not matter."""
    if not np.isfinite(affine).all():
        return False
    axes = affine[:3, :3].astype(np.float64)
    lengths = np.linalg.norm(axes, axis=0)
    return bool((lengths > 0).all() and np.isfinite(lengths).all() and abs(np.linalg.det(axes / lengths)) > 1e-4)


def _check_affine(path: Path, affine: np.ndarray[Any, Any]) -> None:
    if not _is_invertible(affine):
        raise refused(path, "its affine is not finite or cannot be inverted: repair its sform or qform")


def _check_bytes(path: Path, needed: int, is_packed: bool) -> None:
    """Refuse a file that is too short for the values that its header states, before memory for them is allocated."""
    if needed > path.stat().st_size * (_MOST_INFLATION if is_packed else 1):
        raise refused(path, f"it is broken: its header states {needed:,} bytes of values, and it holds fewer")


def _window(path: Path, window: str | tuple[float, float]) -> Window:
    try:
        return asked_window(window, "")
    except NoWindowError as error:
        raise refused(path, error) from None


def _check_offset(path: Path, start: bytes) -> None:
    """Refuse a file whose values begin far behind its header: nibabel would read everything in between."""
    for order in ("<", ">"):
        for size, position, kind in ((348, 108, "f"), (540, 168, "q")):
            if len(start) >= position + 8 and struct.unpack_from(f"{order}i", start)[0] == size:
                offset = struct.unpack_from(f"{order}{kind}", start, position)[0]
                if not 0 <= offset <= _MAX_OFFSET:
                    raise refused(path, f"its values begin at byte {offset:.0f}; from 0 to {_MAX_OFFSET:,} is allowed")


def _one_slice(path: Path, volume: _Volume, frame: int) -> _Volume:
    """One slice, by its number from 1, at its place in the patient."""
    slices = volume.values if volume.values.ndim == 4 else volume.values[:, None]
    if not 1 <= frame <= slices.shape[1]:
        raise refused(path, f"slice {frame} was asked for; it has {slices.shape[1]}, counted from 1")
    forms = {
        name: form if form["affine"] is None else form | {"affine": _moved(form["affine"], frame - 1).tolist()}
        for name, form in volume.forms.items()
    }
    return replace(volume, values=slices[:, frame - 1], affine=_moved(volume.affine.tolist(), frame - 1), forms=forms)


def _moved(affine: Sequence[Sequence[float]], slices: int) -> Tensor:
    moved = torch.tensor(affine, dtype=torch.float64)
    moved[:, 3] += slices * moved[:, 2]
    return moved


READER = Reader(("NIfTI", "MGH"), _ENDINGS, accepts=_accepts, read=read_nifti)
