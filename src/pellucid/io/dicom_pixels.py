"""Decodes the frames of a DICOM file one by one, as measured values or colours, without what is no value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import Dataset, FileDataset
from pydicom.encaps import encapsulate
from torch import Tensor

from pellucid.errors import ImageError
from pellucid.io.dicom_codestream import check_codestreams, check_fragments, codestreams, precision_in
from pellucid.io.dicom_decoding import iter_pixels
from pellucid.io.dicom_frames import header_of
from pellucid.io.dicom_tables import modality_table, palette, rescale
from pellucid.io.refusal import refused
from pellucid.io.window import first

Stored = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Frame:
    """One decoded frame: ``values`` (1, H, W) grey or (3, H, W) colours, float64.

    ``padding`` (H, W) bool marks padding among grey values, None where the file states none, and of colours.
    """

    values: Tensor
    padding: Tensor | None = None


def photometric(dataset: Dataset) -> str:
    """The photometric interpretation; MONOCHROME2 if none is stated."""
    return str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")


def is_coloured(dataset: Dataset) -> bool:
    """Whether a file's pixels are colours."""
    return int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric(dataset) == "PALETTE COLOR"


def decoded_frames(
    path: Path, dataset: FileDataset, headers: Sequence[Dataset], numbers: Sequence[int], count: int
) -> Iterator[Frame]:
    """Decode frames, by ascending number from 1 of ``count``, each with its own header."""
    if _is_encapsulated(dataset):
        check_fragments(path, dataset, count)
    stored = _stored(path, dataset, numbers, count)
    bits = _Bits.of(dataset)
    if not is_coloured(dataset):
        yield from (_grey(dataset, frame, header, bits) for frame, header in zip(stored, headers, strict=True))
    elif int(dataset.get("SamplesPerPixel") or 1) == 1:
        colours = palette(dataset)
        yield from (Frame(colours(torch.from_numpy(bits.of_values(frame)))) for frame in stored)
    else:
        full = 2 ** int(dataset.BitsStored) - 1
        for frame in stored:
            levels = torch.from_numpy(bits.of_values(frame) / full).clamp(0, 1)
            yield Frame(levels.movedim(-1, 0))


def _stored(path: Path, dataset: FileDataset, numbers: Sequence[int], count: int) -> Iterator[Stored]:
    """The decoded stored pixels of each frame, (H, W) or (H, W, 3); YBR is converted to RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if _is_encapsulated(dataset) and not syntax.is_compressed:
        raise refused(path, f"its pixels are compressed, but its transfer syntax is {syntax.name}")
    samples = () if int(dataset.get("SamplesPerPixel") or 1) == 1 else (3,)
    size = (int(dataset.Rows), int(dataset.Columns), *samples)
    found = 0
    try:
        check_codestreams(path, dataset)
        for frame in _iter_pixels(dataset, numbers, count):
            if found == len(numbers):  # more frames than the header states
                break
            if frame.size != np.prod(size, dtype=np.int64):
                raise refused(path, f"its pixels have the shape {frame.shape}; grey or three colours were expected")
            found += 1
            yield frame.reshape(size)
    except (ImageError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders' errors have no common base; a Rust panic is not an Exception
        raise refused(path, f"its pixels ({syntax.name}) cannot be decoded: {error}") from error
    if found < len(numbers):
        raise refused(path, f"its header states {count} frames, and it holds {found}")


def _iter_pixels(dataset: Dataset, numbers: Sequence[int], count: int) -> Iterator[Stored]:
    if len(numbers) == count:
        return iter_pixels(dataset)
    # With indices pydicom goes through the codestreams once for each frame.
    if len(numbers) > 1 and _is_encapsulated(dataset):
        return iter_pixels(_reduced(dataset, numbers))
    return iter_pixels(dataset, [number - 1 for number in numbers])


def _reduced(dataset: Dataset, numbers: Sequence[int]) -> Dataset:
    """An object of some frames of an encapsulated one."""
    kept = set(numbers)
    frames = [frame for number, frame in enumerate(codestreams(dataset), 1) if number in kept]
    made = header_of(dataset)
    made.file_meta, made.NumberOfFrames = dataset.file_meta, len(frames)
    made.add_new("PixelData", "OB", encapsulate(frames, has_bot=False))
    made["PixelData"].is_undefined_length = True
    return made


def _is_encapsulated(dataset: Dataset) -> bool:
    return "PixelData" in dataset and bool(dataset["PixelData"].is_undefined_length)


def _grey(dataset: Dataset, stored: Stored, header: Dataset, bits: _Bits) -> Frame:
    """The values after the modality table or the rescale."""
    values = bits.of_values(stored)
    padding, within = is_padding(dataset, stored), is_padding(dataset, values)
    if padding is not None and within is not None:
        # A padding value may lie outside the stored bits, and stays what it is.
        values = np.where(padding, stored, values)
        padding |= within
    table = modality_table(header)
    measured = torch.from_numpy(values)
    if table is not None:
        measured = table(measured)
    else:
        slope, intercept = rescale(header)
        measured = measured.double() * slope + intercept
    return Frame(measured[None], None if padding is None else torch.from_numpy(padding))


@dataclass(frozen=True)
class _Bits:
    """The bits of a stored pixel that are its value: ``count`` of them above the lowest ``shift``; 0 are all."""

    count: int = 0
    shift: int = 0
    signed: bool = False

    @classmethod
    def of(cls, dataset: Dataset) -> _Bits:
        """Those that a file states; all of them where it states what cannot be."""
        allocated, count = (int(dataset.get(name) or 0) for name in ("BitsAllocated", "BitsStored"))
        if "PixelData" not in dataset or not 1 <= count <= allocated or allocated == 1:
            return cls()
        stated = dataset.get("HighBit")
        high = count - 1 if stated is None else int(stated)
        shift = high + 1 - count if count <= high + 1 <= allocated else 0
        if shift and _is_encapsulated(dataset) and _is_aligned(dataset, count):
            shift = 0
        return cls(count, shift, bool(dataset.get("PixelRepresentation")))

    def of_values(self, stored: Stored) -> Stored:
        """The values of stored pixels; what lies in other bits, such as an overlay, is left out."""
        if stored.dtype.kind not in "iub":
            return stored.astype(np.float64)
        whole = stored.astype(np.int64)
        if not self.count:
            return whole
        values = (whole >> self.shift) & ((1 << self.count) - 1)
        sign = 1 << (self.count - 1) if self.signed else 0
        return (values ^ sign) - sign


def _is_aligned(dataset: Dataset, bits: int) -> bool:
    """Whether codestreams hold only the stored bits, so that nothing lies below or above them."""
    precision = precision_in(next(codestreams(dataset), b""))
    return precision is not None and precision <= bits


def is_padding(dataset: Dataset, stored: Stored) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Which stored pixels are padding: PixelPaddingValue, or a range up to PixelPaddingRangeLimit; None if unstated."""
    value = first(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = first(dataset.get("PixelPaddingRangeLimit"))
    ends = [_as_stored(dataset, number) for number in (value, value if limit is None else limit)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(dataset: Dataset, number: Any) -> int:
    """A padding value with the signedness of the pixels; some files write −2000 as 63536."""
    bits, signed = int(dataset.get("BitsAllocated") or 16), bool(dataset.get("PixelRepresentation"))
    value = int(number) % (1 << bits)
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value
