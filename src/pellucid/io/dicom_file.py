"""A DICOM file's attributes, and whether it is a picture at all; nothing is decoded here."""

from __future__ import annotations

import zlib
from pathlib import Path

from pydicom import FileDataset, dcmread
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pellucid.errors import ImageError
from pellucid.io.refusal import MAX_PIXELS, check_size, refused
from pellucid.io.window import first

_MAX_BYTES = 4 * MAX_PIXELS
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
NO_PICTURES = ("RTDose", "Segmentation", "LabelMap", "ParametricMap")
"""How the names of objects begin whose pixels are not a picture of a patient: doses, masks, measured maps."""


def open_dicom(path: Path, bare: bool) -> FileDataset:
    """Read a file's attributes, and add the transfer syntax where the file leaves it out."""
    try:
        if not bare:
            check_inflated(path)
        dataset = dcmread(path, force=bare)
        known = "SOPClassUID" in dataset or any(name in dataset for name in _PIXELS)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    except ImageError:
        raise
    except Exception as error:  # the same: hostile bytes
        raise refused(path, f"it is a broken DICOM file ({type(error).__name__})") from error
    if bare and not known:
        raise refused(path, "it is no DICOM file: it has neither a preamble nor pixels nor a SOP class")
    return dataset


def check_inflated(path: Path) -> None:
    """Refuse a deflated file that is a bomb, before pydicom reads any of it."""
    if _inflated_size_exceeds(path, _MAX_BYTES):
        raise refused(path, f"it inflates to more than {_MAX_BYTES:,} bytes")


def _guessed_syntax(dataset: FileDataset) -> UID:
    """Name the transfer syntax that pydicom read a file with that names none."""
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _inflated_size_exceeds(path: Path, limit: int) -> bool:
    """Whether a deflated file is a bomb; pydicom would inflate it in one go."""
    with path.open("rb") as file:
        read_preamble(file, False)
        # The file is inflated from where its meta elements end, whatever their group length says.
        if _read_file_meta_info(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        engine, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := engine.unconsumed_tail or file.read(2**20):
            total += len(engine.decompress(chunk, 2**20))
            if total > limit:
                return True
    return False


def kind_of(dataset: FileDataset) -> str:
    """Name what a file is, in the standard's words."""
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return UID(uid).name if uid else "DICOM object of no stated kind"


def check(path: Path, dataset: FileDataset, frame: int | None) -> tuple[range, int]:
    """Refuse what is no picture, or too large a one, before its pixels are decoded.

    Returns the numbers of the frames to read, from 1, and how many there are.
    """
    kind = kind_of(dataset)
    if not any(name in dataset for name in _PIXELS):
        raise refused(path, f"it holds '{kind}' and has no pixels to show")
    if UID(str(dataset.get("SOPClassUID") or "")).keyword.startswith(NO_PICTURES):
        raise refused(path, f"it holds '{kind}', which is not an image")
    missing = [name for name in ("Rows", "Columns") if dataset.get(name) is None]
    if missing:
        raise refused(path, f"it holds '{kind}' and does not say its {' and '.join(missing)}")
    count = int(first(dataset.get("NumberOfFrames")) or 1)
    if count < 1:
        raise refused(path, f"it says that it has {count} frames")
    if frame is not None and not 1 <= frame <= count:
        raise refused(path, f"frame {frame} was asked for; it has {count}, counted from 1")
    frames = range(1, count + 1) if frame is None else range(frame, frame + 1)
    check_size(path, int(dataset.Rows), int(dataset.Columns), len(frames))
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = int(dataset.get("BitsAllocated") or 8)
    if len(frames) * int(dataset.Rows) * int(dataset.Columns) * samples * bits > 8 * _MAX_BYTES:
        raise refused(path, f"its pixels take more than {_MAX_BYTES:,} bytes")
    return frames, count
