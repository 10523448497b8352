"""Maps measured values to pixels for display: by a window, a VOI table, or the range of the values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from pydicom import Dataset
from torch import Tensor

from pellucid.errors import OptionError, did_you_mean
from pellucid.io.dicom_tables import voi_table

PRESETS = {
    "abdomen": (50, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "stroke": (40, 40),
    "subdural": (75, 215),
}
"""Common windows for CT: (centre, width) in Hounsfield units."""


class NoWindowError(Exception):
    """The requested window cannot be applied to this image; readers add the name of the file."""


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

        LINEAR: (x − (c − ½)) / (w − 1) + ½; LINEAR_EXACT: (x − c) / w + ½; both clamped to [0, 1].
        SIGMOID: 1 / (1 + exp(−4 (x − c) / w)).
        """
        if self.function == "SIGMOID":
            return torch.sigmoid(4 * (values - self.centre) / self.width)
        if self.function == "LINEAR_EXACT":
            return ((values - self.centre) / self.width + 0.5).clamp(0, 1)
        if self.width == 1:
            return (values > self.centre - 0.5).to(values.dtype)
        return ((values - (self.centre - 0.5)) / (self.width - 1) + 0.5).clamp(0, 1)


def to_pixels(
    values: Tensor,
    padding: Tensor,
    headers: Sequence[Dataset],
    window: str | tuple[float, float] | None,
    inverted: bool = False,
) -> tuple[Tensor, dict[str, Any]]:
    """Values (1, F, H, W) as pixels in [0, 1], and how they were mapped, for the provenance.

    The mapping is the ``window`` that was asked for, else the VOI table or the window that the file states. Frames with
    different windows are scaled by the range of all frames, so that equal values have equal levels. ``inverted``: low
    values are white. Frames are mapped one by one: a volume's values in double precision might not fit into memory.
    """
    shown: dict[str, Any] = {"voi": "range", "window": None, "padding_excluded": False}
    stored = [stored_window(header) for header in headers] if window is None else []
    applied = asked_window(window, str(headers[0].get("Modality") or "")) if window is not None else stored[0]
    each: Sequence[Callable[[Tensor], Tensor]]
    if window is None and all(header.get("VOILUTSequence") for header in headers):
        each = [partial(_through_table, header=header) for header in headers]
        shown["voi"] = "table"
    elif applied is not None and len(set(stored)) <= 1:
        each = [applied] * len(headers)
        shown |= {"voi": applied.function, "window": [applied.centre, applied.width]}
    else:
        each = [partial(_scaled, ends=_ends(values, padding))] * len(headers)
        shown["padding_excluded"] = bool(padding.any())
    pixels = torch.empty(values.shape, dtype=torch.float32)
    for index, mapped in enumerate(each):
        levels = mapped(values[:, index].double()).nan_to_num(0)
        pixels[:, index] = 1 - levels if inverted else levels
    return pixels, shown


def _through_table(values: Tensor, header: Dataset) -> Tensor:
    table = voi_table(header)
    return (table(values) / table.full).clamp(0, 1)


def _ends(values: Tensor, padding: Tensor) -> tuple[float, float]:
    """The smallest and the largest finite value of all frames, without padding."""
    frames = [_used(values[:, index].double(), ~padding[:, index]) for index in range(values.shape[1])]
    return min(low for low, _ in frames), max(high for _, high in frames)


def _used(values: Tensor, counted: Tensor) -> tuple[float, float]:
    used = counted & values.isfinite()
    return float(torch.where(used, values, torch.inf).min()), float(torch.where(used, values, -torch.inf).max())


def _scaled(values: Tensor, ends: tuple[float, float]) -> Tensor:
    """Values scaled to [0, 1]; black if the ends are the same, or no value is counted."""
    low, high = ends
    return ((values - low) / (high - low)).clamp(0, 1) if high > low else torch.zeros_like(values)


def asked_window(window: str | tuple[float, float], modality: str) -> Window:
    """The window that a user asks for: (centre, width), "centre,width", or for CT a preset.

    Raises:
        OptionError: it is none of these, or the standard does not allow its width.
        NoWindowError: it is a preset, and the modality is not CT.
    """
    if window in PRESETS:
        if modality != "CT":
            raise NoWindowError(
                f"window {window!r} was asked for; presets are in Hounsfield units, and this is not a CT: give "
                f"centre and width, such as 40,400"
            )
        return Window(*PRESETS[str(window)])
    try:
        centre, width = window.split(",") if isinstance(window, str) else window
        parsed = Window(float(centre), float(width))
    except (TypeError, ValueError):
        known = f"; presets are {', '.join(PRESETS)}{did_you_mean(str(window), PRESETS)}"
        raise OptionError(f"window {window!r} was asked for; give centre and width, such as 40,400{known}") from None
    if not parsed.usable:
        raise OptionError(f"window {window!r} was asked for; its width must be at least 1")
    return parsed


def stored_window(dataset: Dataset) -> Window | None:
    """The first window stored in the file; None if there is none, or the standard does not allow it."""
    centre, width = first(dataset.get("WindowCenter")), first(dataset.get("WindowWidth"))
    if centre is None or width is None:
        return None
    window = Window(float(centre), float(width), str(dataset.get("VOILUTFunction") or "LINEAR").upper())
    return window if window.usable else None


def first(value: Any) -> Any:
    """The first of several values, or the only one; None if there is none."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value if value not in ("", b"") else None
    return next(iter(value), None)


def whole_range(values: Tensor, counted: Tensor) -> Tensor:
    """Scale values to [0, 1] from the minimum to the maximum of those where ``counted`` is true.

    A constant image becomes black.
    """
    return _scaled(values, _used(values, counted))
