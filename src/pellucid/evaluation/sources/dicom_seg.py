"""DICOM Segmentations in a folder, as masks of the images and series that they refer to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydicom import Dataset

from pellucid.errors import PellucidError, message_of
from pellucid.evaluation.case import Case, Data, Exclusion, Outline, Source
from pellucid.evaluation.data.dicom_units import Series, Unit, files_below, headers_of, text_of, units_of
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.outlines import united
from pellucid.evaluation.data.segmentations import BROKEN, Segments, is_segmentation, labels_of
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.io.dicom import one_line_errors
from pellucid.io.dicom_file import is_image, open_dicom

NOT_SEGMENTED = "no segmentation refers to it"
NO_IMAGE = "the image that its segmentation refers to is missing"
_MOST_FILES = 2**20
_LOOKED_AT = 2**14
"""Files by which a folder is recognised."""


@register_form("dicom-seg")
@dataclass(frozen=True)
class DICOMSegmentations(Form):
    """A folder with Segmentations, also in ``--masks``, and the images that they refer to, also in ``--images``.

    The slices of a series are a volume, other images a case each. The labels are those of the segments. ``Case.labels``
    is None, since a segment without a pixel states that the image does not have its label. Patients are told apart by
    a digest of their ID. Images that no segmentation refers to are excluded.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether a file in the folder, or the file itself, is a Segmentation."""
        files = islice(files_below(asked.masks or Path(asked.data)), _LOOKED_AT)
        return any(is_segmentation(header.get("SOPClassUID")) for _, header in headers_of(files))

    def read(self, asked: Asked) -> Data:
        """The images as cases. Pixels are not read."""
        data = Path(asked.data)
        roots = dict.fromkeys((data, *filter(None, (asked.images, asked.masks))))
        objects = list(headers_of(islice((path for root in roots for path in files_below(root)), _MOST_FILES)))
        masks = {path for path, header in objects if is_segmentation(header.get("SOPClassUID"))}
        units = units_of({path: header for path, header in objects if is_image(header) and path not in masks})
        outlines, excluded = _outlines(sorted(masks), units, data)
        cases = []
        for unit, name in zip(units, _names(units, [asked.images or data, *roots]), strict=True):
            if unit not in outlines:
                excluded.append(Exclusion(name, NOT_SEGMENTED))
                continue
            findings: dict[str, Outline] = {label: united(found) for label, found in outlines[unit].items()}
            cases.append(Case(name, _source(unit), None, findings, unit.patient))
        return Data(cases, excluded, self.name)


def _names(units: Sequence[Unit], roots: Sequence[Path]) -> list[str]:
    """The path of each unit: of a volume that has a folder of its own the folder's, else that of its first file."""
    own = defaultdict[Path, int](int)
    for unit in units:
        own[unit.paths[0].parent] += 1
    found = []
    for unit in units:
        first = unit.paths[0]
        path = first.parent if len(unit.paths) > 1 and own[first.parent] == 1 and first.parent not in roots else first
        root = next((root for root in roots if path.is_relative_to(root)), path.parent)
        found.append(path.relative_to(root).as_posix())
    return found


def _source(unit: Unit) -> Source:
    return ImageFile(unit.paths[0]) if len(unit.paths) == 1 else Series(unit.paths)


def _outlines(
    masks: Sequence[Path], units: Sequence[Unit], root: Path
) -> tuple[dict[Unit, dict[str, list[Outline]]], list[Exclusion]]:
    """The segments of each unit by label, and the segmentations that cannot be read or whose images are missing."""
    found: dict[Unit, dict[str, list[Outline]]] = defaultdict(lambda: defaultdict(list))
    excluded = []
    for path in masks:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        try:
            with one_line_errors(path):
                dataset = open_dicom(path, header_only=True)
                labels, (uids, series) = labels_of(dataset), _referred(dataset)
        except PellucidError as error:
            excluded.append(Exclusion(name, BROKEN, message_of(error), failed=True))
            continue
        of_mask = [unit for unit in units if unit.uids & uids] or [unit for unit in units if unit.series in series]
        for unit in of_mask:
            for label, numbers in labels.items():
                found[unit][label].append(Segments(path, numbers))
        if not of_mask:
            excluded.append(Exclusion(name, NO_IMAGE))
    return found, excluded


def _referred(dataset: Dataset) -> tuple[set[str], set[str]]:
    """The SOPInstanceUIDs and the SeriesInstanceUIDs that a segmentation refers to."""
    uids, series = set[str](), set[str]()
    for one in dataset.get("ReferencedSeriesSequence") or ():
        series.add(text_of(one, "SeriesInstanceUID"))
        uids |= {text_of(item, "ReferencedSOPInstanceUID") for item in one.get("ReferencedInstanceSequence") or ()}
    groups: list[Any] = [dataset, *(dataset.get("SharedFunctionalGroupsSequence") or ())]
    for group in [*groups, *(dataset.get("PerFrameFunctionalGroupsSequence") or ())]:
        derivations = [group, *(group.get("DerivationImageSequence") or ())]
        sources = (source for one in derivations for source in one.get("SourceImageSequence") or ())
        uids |= {text_of(source, "ReferencedSOPInstanceUID") for source in sources}
    return uids - {""}, series - {""}
