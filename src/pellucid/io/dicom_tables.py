"""Look-up tables of DICOM files: modality, VOI and palettes, of either byte order and with a signed first value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut
from torch import Tensor

_WORD = 2**16
_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Table:
    """A look-up table (PS3.3 C.11.1.1): ``levels`` (..., n) for the values from ``start`` on, of ``bits`` bits each.

    Values below the first and above the last get its level.
    """

    start: int
    levels: Tensor
    bits: int

    def __call__(self, values: Tensor) -> Tensor:
        """The levels (..., *values' shape) float64."""
        steps = (values.double().nan_to_num(self.start) - self.start).round()
        indices = steps.clamp(0, self.levels.shape[-1] - 1).to(torch.int64)
        return self.levels[..., indices]

    @property
    def full(self) -> int:
        """The level of white."""
        return int(2**self.bits) - 1


def modality_table(header: Dataset) -> Table | None:
    """The file's modality table, from stored values to measured ones."""
    sequence = header.get("ModalityLUTSequence")
    return _table(sequence[0], header, signed=_has_signed_pixels(header)) if sequence else None


def voi_table(header: Dataset) -> Table:
    """The first VOI table of a file that has one, from measured values to levels for display."""
    return _table(header.VOILUTSequence[0], header, signed=_may_be_negative(header))


def palette(dataset: Dataset) -> Table:
    """The colours (3, n) of a palette, in [0, 1]."""
    count, start, bits = _descriptor(dataset.RedPaletteColorLookupTableDescriptor, _has_signed_pixels(dataset))
    if "RedPaletteColorLookupTableData" in dataset:
        names = (f"{colour}PaletteColorLookupTableData" for colour in _COLOURS)
        entries = np.stack([_entries(dataset[name].value, count, dataset) for name in names])
    else:  # in segments, which pydicom expands
        stated = int(dataset.RedPaletteColorLookupTableDescriptor[1])
        expanded = apply_color_lut(np.arange(stated, stated + count), dataset)
        entries = expanded[:, :3].T.astype(np.float64)
    full = 255 if bits == 8 and entries.max() <= 255 else _WORD - 1
    return Table(start, torch.from_numpy(entries / full).clamp(0, 1), bits)


def _table(item: Dataset, header: Dataset, signed: bool) -> Table:
    count, start, bits = _descriptor(item.LUTDescriptor, signed)
    return Table(start, torch.from_numpy(_entries(item.LUTData, count, header)), bits)


def _descriptor(stored: Any, signed: bool) -> tuple[int, int, int]:
    """The number of entries, the first value, and the bits of an entry.

    The first value has the sign that the table's input has, whichever of US and SS it was written as: files and
    readers of implicit VR get it wrong.
    """
    count, start, bits = (int(number) % _WORD for number in stored)
    return count or _WORD, start - _WORD if signed and start >= _WORD // 2 else start, bits


def _has_signed_pixels(header: Dataset) -> bool:
    return bool(header.get("PixelRepresentation"))


def _may_be_negative(header: Dataset) -> bool:
    """Whether the input of a VOI table can be below 0: by its rescale, or by signed pixels without a modality table."""
    if header.get("ModalityLUTSequence"):
        return False
    bits = int(header.get("BitsStored") or header.get("BitsAllocated") or 16)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if _has_signed_pixels(header) else (0, (1 << bits) - 1)
    slope, intercept = rescale(header)
    return min(slope * low, slope * high) + intercept < 0


def rescale(header: Dataset) -> tuple[float, float]:
    """The slope and the intercept from stored values to measured ones; 1 and 0 if the file does not state both."""
    if "RescaleSlope" not in header or "RescaleIntercept" not in header:
        return 1.0, 0.0
    return float(header.RescaleSlope), float(header.RescaleIntercept)


def _entries(stored: Any, count: int, header: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The entries of a table: 16-bit words, or bytes where there are only as many bytes as entries."""
    if not isinstance(stored, bytes):
        return np.asarray(stored, dtype=np.float64).reshape(-1)
    order = "<" if header.original_encoding[1] is not False else ">"
    if len(stored) % 2:  # an odd number of bytes cannot be words
        return np.frombuffer(stored, dtype=np.uint8)[:count].astype(np.float64)
    words = np.frombuffer(stored, dtype=f"{order}u2")
    if len(words) >= count:
        return words[:count].astype(np.float64)
    return words.astype("<u2").view(np.uint8)[:count].astype(np.float64)  # bytes, in pairs of the file's order
