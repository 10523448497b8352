"""Pictures from files: PNG, JPEG, TIFF, BMP, WebP and DICOM."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from pellucid.core.image import Image
from pellucid.errors import ImageError, PellucidWarning
from pellucid.io.dicom import is_dicom, read_dicom
from pellucid.io.raster import is_raster, read_raster
from pellucid.io.refusal import refused

__all__ = ["SUFFIXES", "read", "read_image"]

_DICOM_SUFFIXES = (".dcm", ".dicom")

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *_DICOM_SUFFIXES)
"""The file name endings, in lower case, that a search through a folder takes."""


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read one picture, whose kind is told by its content and not by its name.

    Returns the picture as it is to be shown in ``pixels``, (1, H, W) or (3, H, W) float32 in [0, 1], and what
    was measured in ``values``: after the modality LUT for DICOM, else the same as ``pixels``.

    Raises:
        ImageError: the file is missing, unreadable, broken, too large, or holds no single picture.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PellucidWarning)
        image = read(Path(path))
    for warning in caught:
        warnings.warn(warning.message, stacklevel=2)
    return image


def read(path: Path) -> Image:
    """The same, for threads: what the decoders warn of is left to the filters, which are the whole process's."""
    head = _head(path)
    if is_dicom(head):
        return read_dicom(path)
    if path.suffix.lower() in _DICOM_SUFFIXES and not is_raster(head):
        return read_dicom(path, bare=True)
    return read_raster(path)


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
