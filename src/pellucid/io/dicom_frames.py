"""Splits the header of a multi-frame object into one per frame, and computes where slices are in the patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import torch
from pydicom import Dataset
from torch import Tensor

from pellucid.core.image import Instance

_GROUPS = (
    "CTImageFrameTypeSequence",
    "CTXRayDetailsSequence",
    "CardiacSynchronizationSequence",
    "FrameAnatomySequence",
    "FrameContentSequence",
    "FrameVOILUTSequence",
    "MRDiffusionSequence",
    "MREchoSequence",
    "MRImageFrameTypeSequence",
    "MRModifierSequence",
    "MRTimingAndRelatedParametersSequence",
    "OpticalPathIdentificationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "PlanePositionSlideSequence",
    "TemporalPositionSequence",
)
"""The functional groups (PS3.3 C.7.6.16) whose attributes are at the root of a single-frame object."""
_TO_RAS = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
MOST_ROUNDING = 0.4
"""At most this share of the distance of slices is put down to rounded positions: a missing slice doubles it."""
_EXACT = 16
"""Number of decimals of a position that is not rounded."""
_OMITTED_GROUPS = {0x5000, 0x5400, 0x6000, 0x7F00}
"""Curves, waveforms, overlays and pixels: large groups that a header does not need."""


def header_of(dataset: Dataset) -> Dataset:
    """An independent copy of a file's attributes without its pixels; a ``copy.copy`` would share its elements."""
    # The elements as they are stored: iterating over the dataset itself would decode every one.
    stored = zip(dataset.keys(), dataset.values(), strict=True)
    header = Dataset({tag: element for tag, element in stored if tag.group & 0xFF00 not in _OMITTED_GROUPS})
    implicit, little = dataset.original_encoding
    header.set_original_encoding(implicit, little, dataset.original_character_set)
    return header


def own_headers(header: Dataset) -> int:
    """The number of frames that have attributes of their own; the others share a header."""
    return len(header.get("PerFrameFunctionalGroupsSequence") or ())


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
    common = _merged(plain, [shared])
    own = {frame: _merged(common, [per_frame[frame - 1]]) for frame in frames if frame <= len(per_frame)}
    return [own.get(frame, common) for frame in frames]


def _merged(plain: Dataset, groups: Sequence[Dataset | None]) -> Dataset:
    """A header with the attributes of functional groups at its root."""
    merged = header_of(plain)
    for group in filter(None, groups):
        for name in _GROUPS:
            for element in _first(group.get(name)) or ():
                merged[element.tag] = element
    direction = _first(merged.get("DiffusionGradientDirectionSequence"))
    if direction is not None and "DiffusionGradientOrientation" in direction:
        merged["DiffusionGradientOrientation"] = direction["DiffusionGradientOrientation"]
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
    distance = float(step.norm())
    tolerance = 0.05 * distance + min(2 * float(rounding(headers).norm()), MOST_ROUNDING * distance)
    before = first[0] - step
    for index, one in enumerate(planes):
        # Rounded positions may be off by much of a step, but a step that is twice another is a gap.
        if one is None or max(_between(one[0], first[0], index * step), _between(one[0], before, step)) > tolerance:
            return None
        before = one[0]
        if not all(torch.allclose(own, other, atol=1e-3) for own, other in zip(one[1:], first[1:], strict=True)):
            return None
    if tolerance == 0:
        return None
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3] = torch.stack([first[1], first[2], step, first[0]], dim=1)
    return _TO_RAS @ matrix


def _between(position: Tensor, start: Tensor, step: Tensor) -> float:
    """The distance of a position from where a step from the start leads."""
    return float((position - start - step).norm())


def tilt(affine: Tensor) -> float:
    """The angle in degrees between the normal of the slices and the step from one to the next (gantry tilt)."""
    along, down, step = affine[:3, :3].T
    normal = torch.linalg.cross(along, down)
    cosine = float((normal @ step).abs() / (normal.norm() * step.norm()))
    return math.degrees(math.acos(min(1.0, cosine)))


def rounding(headers: Sequence[Dataset]) -> Tensor:
    """How far positions may be from what was measured, (3,) in mm: half of the last decimal that is written."""
    decimals = [[_decimals(one) for one in header.get("ImagePositionPatient") or ()] for header in headers]
    if not decimals or any(len(one) != 3 for one in decimals):
        return torch.zeros(3, dtype=torch.float64)
    return torch.tensor([0.5 * 10.0 ** -max(each) for each in zip(*decimals, strict=True)], dtype=torch.float64)


def _decimals(number: Any) -> int:
    """The number of decimals that a decimal string (DS) is written with."""
    try:
        exponent = Decimal(str(getattr(number, "original_string", number)).strip()).as_tuple().exponent
    except ArithmeticError:
        return _EXACT
    return max(0, -exponent) if isinstance(exponent, int) else _EXACT


def _numbers(header: Dataset, name: str, count: int) -> Tensor | None:
    """An attribute that holds ``count`` finite numbers; None if it holds anything else."""
    value = header.get(name)
    try:
        found = [float(one) for one in (value if count > 1 else [value])]
    except (TypeError, ValueError):
        return None
    return torch.tensor(found, dtype=torch.float64) if len(found) == count and all(map(math.isfinite, found)) else None
