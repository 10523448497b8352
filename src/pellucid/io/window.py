"""From what a DICOM file measured to what is shown: window, VOI table, or the whole range."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydicom import Dataset
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A grey-scale window (DICOM PS3.3 C.11.2.1.2), in the units of the values (for CT, Hounsfield).

    ``function`` is "LINEAR", "LINEAR_EXACT" or "SIGMOID".
    """

    centre: float
    width: float
    function: str = "LINEAR"

    @property
    def usable(self) -> bool:
        """Whether the standard allows this width: at least 1 for LINEAR, above 0 for the others."""
        finite = bool(np.isfinite([self.centre, self.width]).all())
        return finite and (self.width > 0 if self.function in ("LINEAR_EXACT", "SIGMOID") else self.width >= 1)

    def __call__(self, values: Tensor) -> Tensor:
        """Map values to [0, 1].

        LINEAR: (x − (c − ½)) / (w − 1) + ½; LINEAR_EXACT: (x − c) / w + ½; both cut to [0, 1].
        SIGMOID: 1 / (1 + exp(−4 (x − c) / w)).
        """
        if self.function == "SIGMOID":
            return torch.sigmoid(4 * (values - self.centre) / self.width)
        if self.function == "LINEAR_EXACT":
            return ((values - self.centre) / self.width + 0.5).clamp(0, 1)
        if self.width == 1:
            return (values > self.centre - 0.5).to(values.dtype)
        return ((values - (self.centre - 0.5)) / (self.width - 1) + 0.5).clamp(0, 1)


def stored_window(dataset: Dataset) -> Window | None:
    """Take the first window that the file holds, or None where it holds none the standard allows."""
    centre, width = first(dataset.get("WindowCenter")), first(dataset.get("WindowWidth"))
    if centre is None or width is None:
        return None
    window = Window(float(centre), float(width), str(dataset.get("VOILUTFunction") or "LINEAR").upper())
    return window if window.usable else None


def first(value: Any) -> Any:
    """Take the first of several values, or the only one; None where there is none."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value if value not in ("", b"") else None
    return next(iter(value), None)


def voi_table(values: Tensor, dataset: Dataset) -> Tensor:
    """Map values to [0, 1] through the first table of the file's VOI LUT Sequence.

    pydicom's ``apply_voi`` indexes with the type of the table's entries, so that a table of 8-bit entries
    for 12-bit pixels wraps around; this one does not.
    """
    item = dataset.VOILUTSequence[0]
    entries, start, bits = (int(number) for number in item.LUTDescriptor)
    levels = torch.from_numpy(_levels(item.LUTData, entries or 2**16, dataset))
    places = (values - start).round().clamp(0, len(levels) - 1).to(torch.int64)
    pixels: Tensor = (levels[places] / (2**bits - 1)).clamp(0, 1)
    return pixels


def _levels(stored: Any, entries: int, dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Unpack the entries of a table: 16-bit words or, where only as many bytes are there, bytes."""
    if not isinstance(stored, bytes):
        return np.asarray(stored, dtype=np.float64).reshape(-1)
    order = "<" if dataset.original_encoding[1] is not False else ">"
    words = np.dtype(np.uint8) if len(stored) < 2 * entries else np.dtype(f"{order}u2")
    return np.frombuffer(stored, dtype=words)[:entries].astype(np.float64)


def whole_range(values: Tensor, counted: Tensor) -> Tensor:
    """Stretch values to [0, 1] from the minimum to the maximum of those that are ``counted``.

    A constant picture is black.
    """
    seen = values[counted & values.isfinite()]
    if seen.numel() == 0:
        return torch.zeros_like(values)
    low, high = seen.min(), seen.max()
    if high <= low:
        return torch.zeros_like(values)
    return ((values - low) / (high - low)).clamp(0, 1)


def is_padding(dataset: Dataset, stored: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which stored pixels are padding: PixelPaddingValue, or all up to PixelPaddingRangeLimit."""
    value = first(dataset.get("PixelPaddingValue"))
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = first(dataset.get("PixelPaddingRangeLimit"))
    ends = [_as_stored(dataset, number) for number in (value, value if limit is None else limit)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(dataset: Dataset, number: Any) -> int:
    """Bring a padding value to the sign of the pixels; some files write −2000 as 63536."""
    bits, signed = int(dataset.get("BitsAllocated") or 16), bool(dataset.get("PixelRepresentation"))
    value = int(number) % (1 << bits)
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value
