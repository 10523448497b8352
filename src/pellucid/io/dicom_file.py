"""Opens DICOM files and checks, without decoding, that they hold an image of acceptable size."""

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
NON_IMAGES = ("RTDose", "Segmentation", "LabelMap", "ParametricMap")
"""Prefixes of the names of SOP classes whose pixels are not an image of a patient: doses, masks, parametric maps."""


def open_dicom(path: Path, bare: bool) -> FileDataset:
    """Read the attributes of a file. A missing transfer syntax is added.

    Raises:
        ImageError: the file is broken, too large, or not DICOM.
    """
    try:
        if not bare:
            check_inflated(path)
        dataset = dcmread(path, force=bare)
        known = "SOPClassUID" in dataset or any(name in dataset for name in _PIXELS)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    except ImageError:
        raise
    except Exception as error:  # hostile bytes raise errors of every kind
        raise refused(path, f"it is a broken DICOM file ({type(error).__name__})") from error
    if bare and not known:
        raise refused(path, "it is not a DICOM file: it has neither a preamble nor pixels nor a SOP class")
    return dataset


def check_inflated(path: Path) -> None:
    """Refuse a deflated file that inflates beyond the limit, before pydicom inflates it.

    Raises:
        ImageError: it does.
    """
    if _inflated_size_exceeds(path, _MAX_BYTES):
        raise refused(path, f"it inflates to more than {_MAX_BYTES:,} bytes")


def _guessed_syntax(dataset: FileDataset) -> UID:
    """The transfer syntax by which pydicom read a file that states none."""
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _inflated_size_exceeds(path: Path, limit: int) -> bool:
    """Whether a deflated file inflates to more than a limit; pydicom would inflate all of it at once."""
    with path.open("rb") as file:
        read_preamble(file, False)
        # pydicom inflates from the actual end of the meta elements, whatever group length they state.
        if _read_file_meta_info(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return False
        engine, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := engine.unconsumed_tail or file.read(2**20):
            total += len(engine.decompress(chunk, 2**20))
            if total > limit:
                return True
    return False


def kind_of(dataset: FileDataset) -> str:
    """The name of a file's SOP class, from the standard."""
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return UID(uid).name if uid else "DICOM object of unknown SOP class"


def check(path: Path, dataset: FileDataset, frame: int | None) -> tuple[range, int]:
    """Check, before decoding, that a file holds an image of acceptable size.

    Returns the numbers of the frames to read, from 1, and the number of frames in the file.

    Raises:
        ImageError: it does not, or it does not have the frame that was asked for.
    """
    kind = kind_of(dataset)
    if not any(name in dataset for name in _PIXELS):
        raise refused(path, f"it holds '{kind}' and has no pixels to show")
    if UID(str(dataset.get("SOPClassUID") or "")).keyword.startswith(NON_IMAGES):
        raise refused(path, f"it holds '{kind}', which is not an image")
    missing = [name for name in ("Rows", "Columns") if dataset.get(name) is None]
    if missing:
        raise refused(path, f"it holds '{kind}' and does not state its {' and '.join(missing)}")
    count = int(first(dataset.get("NumberOfFrames")) or 1)
    if count < 1:
        raise refused(path, f"its header states {count} frames")
    if frame is not None and not 1 <= frame <= count:
        raise refused(path, f"frame {frame} was asked for; it has {count}, counted from 1")
    frames = range(1, count + 1) if frame is None else range(frame, frame + 1)
    check_size(path, int(dataset.Rows), int(dataset.Columns), len(frames))
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = int(dataset.get("BitsAllocated") or 8)
    if len(frames) * int(dataset.Rows) * int(dataset.Columns) * samples * bits > 8 * _MAX_BYTES:
        raise refused(path, f"its pixels take more than {_MAX_BYTES:,} bytes")
    return frames, count
