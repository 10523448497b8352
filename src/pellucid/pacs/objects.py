"""Reads the DICOM files that are sent to an archive, within the bounds that hold for every file."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom import FileDataset

from pellucid.errors import OptionError, TransferError
from pellucid.io.dicom_bounded import BoundsError, read_attributes


def content_of(path: Path) -> tuple[bytes, str]:
    """A DICOM file's content, and the UID of its object. ``TransferError``: it is broken, or beyond the bounds."""
    try:
        content = path.read_bytes()
        found = read_attributes(io.BytesIO(content), header_only=True, tags=["SOPInstanceUID"])
        return content, str(found.SOPInstanceUID)
    except Exception as error:
        raise _refused(path, error) from None


def object_of(path: Path, header_only: bool = False) -> FileDataset:
    """The object in a DICOM file, which states what it is. ``TransferError``: it is broken, or beyond the bounds."""
    try:
        with path.open("rb") as file:
            found = read_attributes(file, header_only)
        context_of(found)
    except Exception as error:
        raise _refused(path, error) from None
    return found


def context_of(found: FileDataset) -> tuple[str, str]:
    """The SOP class and transfer syntax of an object's file."""
    return str(found.file_meta.MediaStorageSOPClassUID), str(found.file_meta.TransferSyntaxUID)


def _refused(path: Path, error: Exception) -> Exception:
    """The error for a file, which may raise anything if it is broken."""
    if isinstance(error, OptionError):
        return error
    if isinstance(error, BoundsError):
        return TransferError(f"{path.name}: the DICOM file is not sent: {error}")
    return TransferError(f"{path.name}: the DICOM file is broken ({type(error).__name__})")
