"""Checks that a JPEG codestream in a DICOM file has an end, and its size, before a decoder allocates memory for it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from pellucid.errors import counted
from pellucid.io.refusal import refused

_HTJ2K = "1.2.840.10008.1.2.4.20"  # followed by one more digit; pydicom has no list of these
_JPEG = b"\xff\xd8"
_START_OF_SCAN, _END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
_JPEG_2000 = b"\xff\x4f\xff\x51"
_BOX = 8
"""Bytes of a box's head: its length and its type."""
_JP2 = b"\0\0\0\x0cjP  "  # a JPEG 2000 codestream within a file of boxes
_SOF_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame; 0xF7 is that of JPEG-LS
_MARKERS_WITHOUT_SEGMENT = {0x01, *range(0xD0, 0xD9)}
_SOS_MARKER = 0xDA
_FILL = re.compile(rb"\xff+")
_ITEM, _UNDEFINED = 0xE000FFFE, 0xFFFFFFFF
_MOST_FRAGMENTS = 2**16
"""Fragments beyond two for each frame and one for 256 bytes: pydicom takes some 10 µs for each, which may be empty."""
_FRAGMENT = 2**8
_JOINED = (
    "join them: python -c \"import pydicom as p; e=p.encaps; d=p.dcmread('FILE'); d.PixelData="
    "e.encapsulate([*e.generate_frames(d.PixelData, number_of_frames={frames})]); d.save_as('new.dcm')\""
)
_MOST_PARTS = 2**12
"""Markers before the first scan, boxes before the codestream and codestreams: a real stream has some dozens."""


def check_fragments(path: Path, dataset: Dataset, frames: int) -> None:
    """Check that encapsulated pixels are in no more fragments than their frames and bytes can need.

    Raises:
        ImageError: they are.
    """
    pixels, at, count = dataset.PixelData, 0, 0
    most = _MOST_FRAGMENTS + 2 * frames + len(pixels) // _FRAGMENT
    while at + 8 <= len(pixels):
        tag, length = struct.unpack_from("<II", pixels, at)
        if tag != _ITEM or length == _UNDEFINED:
            return
        at, count = at + 8 + length, count + 1
        if count > most:
            what = f"it has over {most:,} fragments for {counted(frames, 'frame')}"
            raise refused(path, f"{what}: {_JOINED.format(frames=frames)}")


def check_codestreams(path: Path, dataset: FileDataset) -> None:
    """Check that no codestream states a larger size than the file's attributes, or is cut short.

    Raises:
        ImageError: one does, or its size cannot be determined.
    """
    if not _is_jpeg(str(dataset.file_meta.TransferSyntaxUID)) or "PixelData" not in dataset:
        return
    rows, columns, samples = (int(dataset[name].value) for name in ("Rows", "Columns", "SamplesPerPixel"))
    for frame in codestreams(dataset):
        if _has_endless_box(frame):
            raise refused(path, f"its pixels ({dataset.file_meta.TransferSyntaxUID.name}) hold a box without a length")
        if _is_cut_short(frame):
            raise refused(path, f"its pixels ({dataset.file_meta.TransferSyntaxUID.name}) are cut short")
        sizes = list(sizes_in(frame)) or [(0, 0, 0)]
        for height, width, depth in sizes:
            if not (0 < height <= rows and 0 < width <= columns and 0 < depth <= samples):
                name = dataset.file_meta.TransferSyntaxUID.name
                raise refused(
                    path,
                    f"its pixels ({name}) state the size {height} × {width} × {depth}, and its attributes "
                    f"{rows} × {columns} × {samples}",
                )


def codestreams(dataset: Dataset) -> Iterator[bytes]:
    """The frames of encapsulated pixels as pydicom finds them, those beyond the stated number included."""
    options = as_pixel_options(dataset)
    return generate_frames(
        dataset.PixelData,
        number_of_frames=options.get("number_of_frames", 1),
        extended_offsets=options.get("extended_offsets"),
    )


def _has_endless_box(frame: bytes) -> bool:
    """Whether a JP2 file holds a box that ends before its head before the codestream, in which pydicom loops."""
    if not frame.startswith(_JP2):
        return False
    at = len(_JP2) + 4
    for _ in range(_MOST_PARTS):
        if at >= len(frame) or frame[at + 4 : at + 8] == b"jp2c":
            return False
        length = int.from_bytes(frame[at : at + 4])
        if length < _BOX:
            return True
        at += length
    raise ValueError(f"it has more than {_MOST_PARTS:,} boxes")


def _is_cut_short(frame: bytes) -> bool:
    """Whether a JPEG or JPEG-LS stream has no end; libjpeg would silently fill the rest of the image with grey."""
    # Within the data of a scan no bytes look like these markers.
    return frame.startswith(_JPEG) and frame.rfind(_END_OF_IMAGE) < frame.rfind(_START_OF_SCAN)


def _is_jpeg(syntax: str) -> bool:
    known = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
    return syntax in known or syntax.startswith(_HTJ2K)


def sizes_in(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Every height, width and number of components that a decoder may find in a codestream."""
    if frame.startswith(_JPEG_2000):
        yield _jpeg_2000(frame, 0)
    elif frame.startswith(_JP2):
        if frame.count(_JPEG_2000) > _MOST_PARTS:
            raise ValueError(f"it has more than {_MOST_PARTS:,} codestreams")
        at = -1
        while (at := frame.find(_JPEG_2000, at + 1)) >= 0:  # any of these may be in the box that is decoded
            yield _jpeg_2000(frame, at)
    elif frame.startswith(_JPEG):
        yield from _jpeg(frame)


def _jpeg_2000(frame: bytes, at: int) -> tuple[int, int, int]:
    """The size in a SIZ segment: its grid minus the offset of the image on it."""
    width, height, left, top = (int.from_bytes(frame[at + i : at + i + 4]) for i in (8, 12, 16, 20))
    return height - top, width - left, int.from_bytes(frame[at + 40 : at + 42])


def _jpeg(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """The sizes in the frame headers before the first scan."""
    for at in _frame_headers(frame):
        height, width = (int.from_bytes(frame[at + i : at + i + 2]) for i in (5, 7))
        yield height, width, frame[at + 9]


def _frame_headers(frame: bytes) -> Iterator[int]:
    """Where the frame headers (SOF) before the first scan begin."""
    at = 0
    for _ in range(_MOST_PARTS):
        found = _FILL.search(frame, at)
        if found is None or found.end() == len(frame):
            return
        at = found.end() - 1  # of several, all but the last are fill bytes
        marker = frame[at + 1]
        if marker == _SOS_MARKER:
            return
        if marker in _SOF_MARKERS:
            yield at
        if marker in _MARKERS_WITHOUT_SEGMENT or marker == 0:
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4]))
    raise ValueError(f"it has more than {_MOST_PARTS:,} markers before its first scan")


def precision_in(frame: bytes) -> int | None:
    """The number of bits of a sample that a codestream states; None of any that is not of the JPEG family."""
    at = frame.find(_JPEG_2000) if frame.startswith((_JPEG_2000, _JP2)) else -1
    if at >= 0:
        return (frame[at + 42] & 0x7F) + 1 if len(frame) > at + 42 else None
    return next((frame[at + 4] for at in _frame_headers(frame)), None) if frame.startswith(_JPEG) else None
