"""Pictures and volumes from files: DICOM, NIfTI, PNG, JPEG, TIFF, BMP and WebP."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

from pellucid.core.image import Image
from pellucid.errors import ImageError, PellucidWarning
from pellucid.io.dicom import is_dicom, read_dicom, says_dicom
from pellucid.io.nifti import ENDINGS, is_nifti, read_nifti
from pellucid.io.raster import is_raster, read_raster
from pellucid.io.refusal import digest, refused
from pellucid.io.series import read_series

__all__ = ["SUFFIXES", "is_picture", "read", "read_image", "read_series"]

_DICOM_SUFFIXES = (".dcm", ".dicom")

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *_DICOM_SUFFIXES, *ENDINGS)
"""The file name endings, in lower case, that a search through a folder takes."""


def is_picture(path: Path) -> bool:
    """Whether a search through a folder takes a file: by its name, or one without an ending that says it is DICOM."""
    if path.suffix:
        return path.name.lower().endswith(SUFFIXES)
    try:
        return path.name != "DICOMDIR" and says_dicom(path)
    except OSError:
        return False


def read_image(
    path: str | os.PathLike[str], window: str | tuple[float, float] | None = None, frame: int | None = None
) -> Image:
    """Read one picture, whose kind is told by its content and not by its name.

    Returns the picture as it is to be shown in ``pixels``, (1, H, W) or (3, H, W) float32 in [0, 1], and what
    was measured in ``values``: after the modality LUT for DICOM, else the same as ``pixels``. A DICOM object of
    several frames, or a volume of NIfTI, is (C, F, H, W).

    ``window``, for what was measured: (centre, width), as text "40,400", or for CT a preset such as "lung"; None takes
    what the file stores. ``frame``: the number of the one to read, from 1.

    Raises:
        ImageError: the file is missing, unreadable, broken, too large, or holds no picture; or none to look at through
            a window: it is in colour, or was not measured, or the window is a preset of CT.
        OptionError: the window is none.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PellucidWarning)
        image = read(Path(path), window, frame)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
    return image


def read(path: Path, window: str | tuple[float, float] | None = None, frame: int | None = None) -> Image:
    """The same, for threads: what the decoders warn of is left to the filters, which are the whole process's."""
    head = _head(path)
    if is_dicom(head):
        image = read_dicom(path, window, frame)
    elif path.suffix.lower() in _DICOM_SUFFIXES and not is_raster(head):
        image = read_dicom(path, window, frame, bare=True)
    elif is_nifti(path):
        image = read_nifti(path, window, frame)
    else:
        _check_single(path, frame)
        _check_plain(path, window)
        image = read_raster(path)
    return replace(image, digest=digest(path))


def _check_single(path: Path, frame: int | None) -> None:
    if frame not in (None, 1):
        raise refused(path, f"frame {frame} was asked for; it holds one picture")


def _check_plain(path: Path, window: object) -> None:
    """Refuse what only files of measured values can give."""
    if window is not None:
        raise refused(
            path, f"window {window!r} was asked for; it is neither DICOM nor NIfTI: it holds no measured values"
        )


def _head(path: Path) -> bytes:
    """Read the first bytes of a file, enough to tell its kind."""
    try:
        if path.is_dir():
            raise refused(path, "it is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise refused(path, "it is not a regular file")
        with path.open("rb") as file:
            head = file.read(132)
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
