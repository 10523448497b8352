"""Splits the header of a multi-frame object into one per frame, and computes where slices are in the patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pydicom import Dataset
from torch import Tensor

from pellucid.core.image import Instance

_GROUPS = (
    "FrameAnatomySequence",
    "FrameVOILUTSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
)
"""The functional groups (PS3.3 C.7.6.16) whose attributes are at the root of a single-frame object."""
_TO_RAS = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
_OMITTED_GROUPS = {0x5000, 0x5400, 0x6000, 0x7F00}
"""Curves, waveforms, overlays and pixels: large groups that a header does not need."""


def header_of(dataset: Dataset) -> Dataset:
    """An independent copy of a file's attributes without its pixels; a ``copy.copy`` would share its elements."""
    header = Dataset()
    tags = dataset.keys()  # iterating over the dataset itself would decode every element
    header.update({tag: dataset.get_item(tag) for tag in tags if tag.group & 0xFF00 not in _OMITTED_GROUPS})
    implicit, little = dataset.original_encoding
    header.set_original_encoding(implicit, little, dataset.original_character_set)
    return header


def frame_headers(header: Dataset, frames: Sequence[int]) -> list[Dataset]:
    """One header per frame, by number from 1; the same one for all if the object has no functional groups."""
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if shared is None and not per_frame:
        return [header] * len(frames)
    plain = header_of(header)
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if name in plain:
            delattr(plain, name)
    return [_merged(plain, [shared, per_frame[frame - 1] if frame <= len(per_frame) else None]) for frame in frames]


def _merged(plain: Dataset, groups: Sequence[Dataset | None]) -> Dataset:
    """A header with the attributes of functional groups at its root."""
    merged = header_of(plain)
    for group in filter(None, groups):
        for name in _GROUPS:
            for element in _first(group.get(name)) or ():
                merged[element.tag] = element
    return merged


def _first(sequence: Any) -> Dataset | None:
    return sequence[0] if sequence else None


def instances(headers: Sequence[Dataset], frames: Sequence[int], count: int) -> tuple[Instance, ...]:
    """The headers with the numbers of their frames, which an object of ``count`` = 1 frame does not need."""
    return tuple(Instance(header, frame if count > 1 else None) for header, frame in zip(headers, frames, strict=True))


def plane(header: Dataset) -> tuple[Tensor, Tensor, Tensor] | None:
    """The position of a slice's first pixel, and the steps to the next column and the next row, each (3,) in mm.

    Coordinates are DICOM's (left, posterior, superior). None if the header does not state all of this, or states
    vectors that are not orthonormal.
    """
    position, cosines = _numbers(header, "ImagePositionPatient", 3), _numbers(header, "ImageOrientationPatient", 6)
    between = spacing(header)
    if position is None or cosines is None or between is None:
        return None
    along, down = cosines[:3], cosines[3:]
    lengths = torch.stack([along.norm(), down.norm()])
    if bool(((lengths - 1).abs() > 0.01).any()) or abs(float(along @ down)) > 0.01:
        return None
    return position, along * between[1], down * between[0]


def spacing(header: Dataset) -> tuple[float, float] | None:
    """The spacing of rows and of columns in mm, if the file states it for the patient's plane."""
    found = _numbers(header, "PixelSpacing", 2)
    return None if found is None or not bool((found > 0).all()) else (float(found[0]), float(found[1]))


def spacing_and_affine(headers: Sequence[Dataset], volume: bool) -> tuple[tuple[float, ...] | None, Tensor | None]:
    """The spacing in the order of the axes, (H, W) or (F, H, W), and the affine; each is None if it is not stated."""
    within, affine = spacing(headers[0]), affine_of(headers)
    if not volume:
        return within, affine
    return None if affine is None or within is None else (float(affine[:3, 2].norm()), *within), affine


def affine_of(headers: Sequence[Dataset]) -> Tensor | None:
    """The affine (4, 4) float64 from (column, row, slice) to (right, anterior, superior) in mm, of ordered slices.

    None if a slice does not state its position, or the slices are not parallel and equally spaced; of a single slice,
    if it does not state its thickness.
    """
    planes = [plane(header) for header in headers]
    first, last = planes[0], planes[-1]
    if first is None or last is None:
        return None
    step = (last[0] - first[0]) / max(1, len(planes) - 1)
    if len(planes) == 1:
        thickness = _numbers(headers[0], "SliceThickness", 1)
        if thickness is None or thickness[0] <= 0:
            return None
        normal = torch.linalg.cross(first[1], first[2])
        step = normal / normal.norm() * thickness[0]
    tolerance = 0.05 * float(step.norm())
    for index, one in enumerate(planes):
        if one is None or float((one[0] - first[0] - index * step).norm()) > tolerance:
            return None
        if not all(torch.allclose(own, other, atol=1e-3) for own, other in zip(one[1:], first[1:], strict=True)):
            return None
    if tolerance == 0:
        return None
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = torch.stack([first[1], first[2], step, first[0]], dim=1)
    return _TO_RAS @ matrix


def _numbers(header: Dataset, name: str, count: int) -> Tensor | None:
    """An attribute that holds ``count`` finite numbers; None if it holds anything else."""
    value = header.get(name)
    try:
        found = [float(one) for one in (value if count > 1 else [value])]
    except (TypeError, ValueError):
        return None
    return torch.tensor(found, dtype=torch.float64) if len(found) == count and all(map(math.isfinite, found)) else None
