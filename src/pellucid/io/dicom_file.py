"""Recognises and opens DICOM files, and checks, without decoding, that they hold an image of acceptable size."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pydicom import Dataset, FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import OptionError
from pellucid.io.dicom_bounded import BoundsError, read_attributes, read_meta
from pellucid.io.refusal import check_size, refused
from pellucid.io.window import first

_MAX_BYTES = 4 * MAX_PIXELS
_MOST_STATED_FRAMES = 2**20
"""Frames that a header may state: those of a selection, or one of them, may be read."""
_DEFLATE = 1032
"""The most by which deflate shortens anything."""
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
HEAD = 132
"""Number of bytes at a file's beginning that show whether it is DICOM."""
_FIRST_GROUPS = (0x0002, 0x0008)
_UNDEFINED = 0xFFFFFFFF
_LONGEST = 2**24
NON_IMAGES = ("RTDose", "Segmentation", "LabelMap", "ParametricMap")
"""Prefixes of the names of SOP classes whose pixels are not an image of a patient: doses, masks, parametric maps."""


def is_dicom(head: bytes) -> bool:
    """Whether a file whose first 132 bytes are ``head`` is DICOM: by its preamble, or by its first elements.

    Files without a preamble begin with elements of the meta information or of the identification, in ascending order.
    """
    return head[128:HEAD] == b"DICM" or any(
        _begins_with_elements(head, order, explicit) for order, explicit in (("<", True), ("<", False), (">", True))
    )


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM, by its content; ``OSError`` if it cannot be read."""
    with path.open("rb") as file:
        return is_dicom(file.read(HEAD))


def is_directory(path: Path) -> bool:
    """Whether a DICOM file is the directory of a disc (DICOMDIR), which holds no image."""
    try:
        with path.open("rb") as file:
            return bool(read_meta(file).get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)
    except Exception:  # reading the file will report what is wrong with it
        return False


def _begins_with_elements(head: bytes, order: str, explicit: bool) -> bool:
    """Whether bytes begin with at least two elements in ascending order, in this byte order and kind of VR."""
    tags, at = [], 0
    while at + 12 <= len(head):
        tags.append(struct.unpack_from(f"{order}HH", head, at))
        header, length = _lengths(head, at + 4, order, explicit)
        if length == _UNDEFINED:
            break
        if length > _LONGEST:
            return False
        at += header + length
    ascending = all(first < second for first, second in pairwise(tags))
    return len(tags) > 1 and tags[0][0] in _FIRST_GROUPS and ascending


def _lengths(head: bytes, at: int, order: str, explicit: bool) -> tuple[int, int]:
    """The lengths of an element's header and value, by the bytes behind its tag; too long for an unknown VR."""
    if not explicit:
        return 8, struct.unpack_from(f"{order}I", head, at)[0]
    vr = head[at : at + 2].decode("latin-1")
    if vr in EXPLICIT_VR_LENGTH_32:
        return 12, struct.unpack_from(f"{order}I", head, at + 4)[0]
    return 8, struct.unpack_from(f"{order}H", head, at + 2)[0] if vr in STANDARD_VR else _LONGEST + 1


def open_dicom(path: Path, header_only: bool = False) -> FileDataset:
    """Read the attributes of a file, without its pixels if only the header is asked for.

    A missing transfer syntax is added.

    Raises:
        ImageError: the file is broken, too large, or not DICOM.
    """
    return _opened(path, header_only, ())


def read_tags(path: Path, names: Sequence[str]) -> FileDataset:
    """Read some attributes of a file, by their keywords.

    Raises:
        ImageError: the file is broken, too large, or not DICOM.
    """
    return _opened(path, True, names)


def _opened(path: Path, header_only: bool, names: Sequence[str]) -> FileDataset:
    try:
        with path.open("rb") as file:
            dataset = read_attributes(file, header_only, names)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    except OptionError:
        raise
    except BoundsError as error:
        raise refused(path, error) from None
    except Exception as error:  # hostile bytes raise errors of every kind
        raise refused(path, f"it is a broken DICOM file ({type(error).__name__})") from error
    return dataset


def _guessed_syntax(dataset: FileDataset) -> UID:
    """The transfer syntax by which pydicom read a file that states none."""
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def kind_of(dataset: Dataset) -> str:
    """The name of a file's SOP class, from the standard."""
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return UID(uid).name if uid else "DICOM object of unknown SOP class"


def is_image(header: Dataset) -> bool:
    """Whether a header is that of an image of a patient; it need not hold the pixels."""
    keyword = UID(str(header.get("SOPClassUID") or "")).keyword
    return header.get("Rows") is not None and not keyword.startswith(NON_IMAGES)


def check(path: Path, dataset: FileDataset) -> int:
    """Check, before decoding, that a file holds an image whose frames have an acceptable size.

    Returns the number of frames.

    Raises:
        ImageError: it does not.
    """
    kind = kind_of(dataset)
    if not any(name in dataset for name in _PIXELS):
        raise refused(path, f"it holds '{kind}' and has no pixels to show")
    if UID(str(dataset.get("SOPClassUID") or "")).keyword.startswith(NON_IMAGES):
        raise refused(path, f"it holds '{kind}', which is not an image")
    missing = [name for name in ("Rows", "Columns") if dataset.get(name) is None]
    if missing:
        raise refused(path, f"it holds '{kind}' and does not state its {' and '.join(missing)}")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    check_size(path, rows, columns)
    samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("BitsAllocated") or 8)
    if rows * columns * samples * bits > 8 * _MAX_BYTES:
        raise refused(path, f"the pixels of a frame take more than {_MAX_BYTES:,} bytes")
    return frame_count(path, dataset)


def frame_count(path: Path, dataset: FileDataset) -> int:
    """The number of frames that a header states.

    Raises:
        ImageError: it is less than 1, or the file is too short for them.
    """
    count = int(first(dataset.get("NumberOfFrames")) or 1)
    if count < 1:
        raise refused(path, f"its header states {count} frames")
    if count > 1 and count * _shortest_frame(dataset) > path.stat().st_size * _most_inflation(dataset):
        raise refused(path, f"its header states {count:,} frames, for which the file is too short")
    if count > _MOST_STATED_FRAMES:
        raise refused(path, f"its header states {count:,} frames; at most {_MOST_STATED_FRAMES:,} are read")
    return count


def _shortest_frame(dataset: FileDataset) -> int:
    """The fewest bytes that a frame takes in the file: a codestream is an item with a header of its own."""
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return 8
    rows, columns, bits = (int(dataset.get(name) or 1) for name in ("Rows", "Columns", "BitsAllocated"))
    return max(1, rows * columns * bits // 8)


def _most_inflation(dataset: FileDataset) -> int:
    return _DEFLATE if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian else 1
