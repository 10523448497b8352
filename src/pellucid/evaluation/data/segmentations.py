"""Reads DICOM Segmentations (PS3.3 A.51): segments as masks of the images that their frames refer to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydicom import Dataset, FileDataset
from torch import Tensor

from pellucid.core.image import Image, Instance
from pellucid.errors import DataError, ImageError, message_of
from pellucid.evaluation.data.outlines import shown
from pellucid.io.dicom import one_line_errors
from pellucid.io.dicom_file import frame_count, open_dicom
from pellucid.io.dicom_frames import frame_headers, header_of, plane
from pellucid.io.dicom_pixels import decoded_frames
from pellucid.io.refusal import check_size

LABEL_MAP = "LABELMAP"
_SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation, and Label Map Segmentation, which pydicom's dictionary may not have yet."""
OTHER_SIZE = "its segmentation has another size than the image"
ELSEWHERE = "its segmentation lies elsewhere than the image"
UNKNOWN = "its segmentation does not say of which images its frames are"
BROKEN = "its segmentation cannot be read"
_HALF = 0.5
_NEAR = 0.5
"""Corners of a frame and of its image differ by less than this share of a pixel."""

Reference = tuple[str, int]
"""The SOPInstanceUID of an image and the number of its frame, from 1."""


@dataclass(frozen=True)
class Segments:
    """Segments of a DICOM Segmentation, by their numbers: BINARY, FRACTIONAL above one half, or LABELMAP.

    Its mask is empty where the image does not have the label: that is a statement, not a mistake.
    """

    path: Path
    numbers: tuple[int, ...]

    def mask(self, image: Image) -> Tensor:
        """The pixels of the segments, on the slices that their frames refer to, or lie at.

        Raises:
            DataError: the object cannot be read, or its frames have another size than the image, lie elsewhere, or do
                not say of which images they are.
        """
        try:
            with one_line_errors(self.path):
                dataset = open_dicom(self.path)
                check_size(self.path, int(dataset.Rows), int(dataset.Columns))
                frames = [one for one in frames_of(self.path, dataset) if one.segment in (None, *self.numbers)]
            self._check(dataset, image)
            slices = {frame.number: index for frame in frames if (index := _slice(frame, image)) is not None}
            with one_line_errors(self.path):
                return self._united(dataset, frames, slices, image)
        except ImageError as error:
            raise DataError(BROKEN, message_of(error)) from None

    def _check(self, dataset: Dataset, image: Image) -> None:
        size = (int(dataset.Rows), int(dataset.Columns))
        if size != image.size[-2:]:
            raise DataError(OTHER_SIZE, f"{shown(size)}; the image has {shown(image.size)}")

    def _united(self, dataset: FileDataset, frames: Sequence[Frame], slices: dict[int, int], image: Image) -> Tensor:
        used = [frame for frame in frames if frame.number in slices]
        found = torch.zeros(len(image.instances), *image.size[-2:], dtype=torch.bool)
        numbers, headers = [one.number for one in used], [one.header for one in used]
        count = frame_count(self.path, dataset)
        for frame, decoded in zip(used, decoded_frames(self.path, dataset, headers, numbers, count), strict=True):
            found[slices[frame.number]] |= self._flags(dataset, decoded.values[0])
        return found.reshape(image.size)

    def _flags(self, dataset: Dataset, values: Tensor) -> Tensor:
        kind = str(dataset.get("SegmentationType"))
        if kind == LABEL_MAP:
            return torch.isin(values.long(), torch.tensor(self.numbers))
        most = float(dataset.get("MaximumFractionalValue") or 255) if kind == "FRACTIONAL" else 1.0
        return values > _HALF * most


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a Segmentation: its number from 1, its segment (None of a label map), and what it refers to."""

    number: int
    segment: int | None
    references: frozenset[Reference]
    header: Dataset


def is_segmentation(sop_class: object) -> bool:
    """Whether a SOP class is that of Segmentations."""
    return str(sop_class) in _SOP_CLASSES


def frames_of(path: Path, dataset: FileDataset) -> list[Frame]:
    """The frames of a Segmentation in their order. ``ImageError``: there are fewer than its header states."""
    count = frame_count(path, dataset)
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[:count]
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
    headers = frame_headers(header_of(dataset), range(1, len(groups) + 1))
    is_map = str(dataset.get("SegmentationType")) == LABEL_MAP
    return [
        Frame(number, None if is_map else _segment(group, shared), frozenset(_references(group, shared)), header)
        for number, (group, header) in enumerate(zip(groups, headers, strict=True), start=1)
    ]


def _segment(group: Dataset, shared: Dataset) -> int:
    found = group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
    return int(found[0].ReferencedSegmentNumber)


def _references(group: Dataset, shared: Dataset) -> Iterator[Reference]:
    """The images and frames that a frame is derived from; of one that names no frame, the first."""
    for derivation in group.get("DerivationImageSequence") or shared.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            uid, frames = str(source.get("ReferencedSOPInstanceUID")), source.get("ReferencedFrameNumber")
            numbers = [1] if frames is None else [frames] if isinstance(frames, int | str) else list(frames)
            yield from ((uid, int(number)) for number in numbers)


def _slice(frame: Frame, image: Image) -> int | None:
    """The index of the slice of an image that a frame belongs to; None of a frame of another image.

    A frame that refers to images belongs to one of these. If it does not, it belongs to the slice that it lies at.
    """
    if not image.instances:
        raise DataError(UNKNOWN, "the image is no DICOM image")
    every = list(enumerate(image.instances))
    named = [(index, one) for index, one in every if _reference(one) in frame.references]
    if frame.references and not named:
        return None
    position = plane(frame.header)
    planes = [plane(one.header) for _, one in named or every]
    if position is None or None in planes:
        return _only([index for index, _ in named or every])
    distances = [_distance(position, one, image.size) for one in planes if one is not None]
    nearest = min(range(len(distances)), key=distances.__getitem__)
    if distances[nearest] < _NEAR:
        return (named or every)[nearest][0]
    if named:
        raise DataError(ELSEWHERE, f"by {distances[nearest]:.3g} pixels")
    return None


def _reference(instance: Instance) -> Reference:
    return str(instance.header.get("SOPInstanceUID")), instance.frame or 1


def _only(slices: Sequence[int]) -> int:
    if len(slices) != 1:
        raise DataError(UNKNOWN)
    return slices[0]


def _distance(one: tuple[Tensor, ...], other: tuple[Tensor, ...], size: Sequence[int]) -> float:
    """The largest distance between the corners of two planes of an image's size, in pixels of the other."""
    height, width = size[-2:]
    corners = [[start, start + width * across, start + height * down] for start, across, down in (one, other)]
    apart = max(float((a - b).norm()) for a, b in zip(*corners, strict=True))
    return apart / min(float(other[1].norm()), float(other[2].norm()))


def labels_of(dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The numbers of the segments by label; a segment without a label has the meaning of its type's code."""
    found: dict[str, tuple[int, ...]] = {}
    for segment in dataset.get("SegmentSequence") or ():
        number = int(segment.SegmentNumber)
        label = " ".join(str(segment.get("SegmentLabel") or _meaning(segment)).split())
        if number > 0 and label:  # of a label map 0 is the background
            found[label] = (*found.get(label, ()), number)
    return found


def _meaning(segment: Dataset) -> Any:
    types = segment.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    return types[0].get("CodeMeaning") or f"segment {segment.SegmentNumber}"
