"""Reads images and volumes from files: DICOM objects and series, NIfTI, photographs and exported images."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.image import Image
from pellucid.errors import ImageError, PellucidError, PellucidWarning, warn
from pellucid.io import dicom, nifti, raster, unread
from pellucid.io.dicom_file import HEAD, is_dicom, is_directory
from pellucid.io.reader import Reader
from pellucid.io.refusal import MAX_BYTES, broken, digest, refused
from pellucid.io.selection import Select, SelectLike, parsed_select
from pellucid.io.series import read_series

__all__ = ["FORMATS", "SUFFIXES", "is_image_file", "read", "read_image", "read_series"]

_READERS = (unread.READER, unread.PASSED_OVER, dicom.READER, nifti.READER, raster.READER)
"""The first reader that accepts a file reads it."""

FORMATS = tuple(dict.fromkeys(name for reader in _READERS for name in reader.formats))
"""The names of all formats that are read."""

SUFFIXES = tuple(dict.fromkeys(ending for reader in _READERS for ending in reader.endings))
"""The lower-case file name endings that a search through a folder takes."""


def is_image_file(path: Path) -> bool:
    """Whether a search through a folder takes a file: by its content, or because its name states an image format.

    A broken file with such a name is taken, so that reading it reports what is wrong. The header of a volume, and DICOM
    within gzip, are not: they often lie beside their converted volumes.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        head = b""
    if is_dicom(head) and is_directory(path):
        return False
    searched = (reader for reader in _READERS if reader is not unread.PASSED_OVER)
    return any(reader.accepts(path, head) for reader in searched) or path.name.lower().endswith(SUFFIXES)


@on_cpu_by_default
def read_image(
    path: str | os.PathLike[str],
    window: str | tuple[float, float] | None = None,
    frame: int | None = None,
    select: SelectLike = None,
) -> Image:
    """Read one image or volume. The format is recognised by the content of the file (NIfTI by its name).

    Returns an image whose ``pixels``, (1, H, W) or (3, H, W) float32 in [0, 1], are ready for display, and whose
    ``values`` are what was measured: after the modality LUT for DICOM, else the same as ``pixels``. A multi-frame
    DICOM object, or a NIfTI volume, is (C, F, H, W).

    ``window``, for measured values: (centre, width), as text "40,400", or for CT a preset such as "lung"; None takes
    the one stored in the file. ``frame``: the number of the frame to read, from 1; None reads all, in the order of
    their positions. ``select``, where several are at the same position (time points, b-values, echoes, the images of a
    slide): the value of one, as "bvalue=1000" or {"bvalue": 1000}; without it, the error lists the values.

    Raises:
        ImageError: the file is missing, unreadable, broken, too large, or not an image; or the window cannot be
            applied: the image is in colour or holds no measured values, or a preset was given for an image that is not
            CT; or several images are at the same position, and none was selected.
        MissingPackageError: the format needs an optional package that is not installed; the message names it.
        OptionError: the window or the selection is invalid.
    """
    chosen = parsed_select(select)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PellucidWarning)
        image = read(Path(path), window, frame, chosen)
    for warning in caught:
        warn(str(warning.message), warning.category)
    return image


def read(
    path: Path,
    window: str | tuple[float, float] | None = None,
    frame: int | None = None,
    select: Select | None = None,
) -> Image:
    """As ``read_image``, for use in threads: warning filters, which belong to the whole process, are not touched."""
    try:
        image = _reader_of(path).read(path, window, frame, select)
    except PellucidError:
        raise
    except Exception as error:  # hostile files make libraries raise errors of every kind
        raise refused(path, broken(error)) from error
    return replace(image, digest=digest(path))


def _reader_of(path: Path) -> Reader:
    head = _head(path)
    for reader in _READERS:
        if reader.accepts(path, head):
            return reader
    raise refused(path, f"it is broken, or not in a format that is read ({', '.join(FORMATS)})")


def _head(path: Path) -> bytes:
    """The first bytes of a file, enough to recognise its format."""
    try:
        if path.is_dir():
            raise refused(path, "it is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise refused(path, "it is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise refused(path, f"it has more than {MAX_BYTES:,} bytes: make it smaller")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise refused(path, "there is no such file") from error
    except PermissionError as error:
        raise refused(path, "permission to read it is missing") from error
    except OSError as error:
        raise refused(path, error.strerror or error) from error
    except ValueError as error:  # a null byte in the name
        raise refused(path, error) from error
    if not head:
        raise refused(path, "it is empty")
    return head
