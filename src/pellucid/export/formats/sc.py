"""DICOM Secondary Capture: the overlay as an RGB image that every DICOM viewer shows; of a volume, every slice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Kind, Result, fit
from pellucid.export.drawing import drawn, drawn_slice

if TYPE_CHECKING:
    from pydicom import Dataset

KIND = Kind("sc", "a Secondary Capture", series_number=9002, series="class")
_PLACEHOLDER_ORIENTATION = ("L", "P")
"""highdicom requires an orientation. ``Source.complete`` replaces it by the source's own, or empties it."""
_MAX_BYTES = 2**31
"""Of all overlays of an image together: they are held until all of its results are written."""


def export(case: Case) -> Files:
    """``…_sc.dcm`` of each map: the overlay with its colour bar and caption, burned in.

    Of a volume ``…_sc-1.dcm``, ``…_sc-2.dcm``, …: every slice, which are a series together.

    Raises:
        ExportError: the source is not a DICOM file; or the overlays of all slices are too large.
    """
    _check_size(case)
    files: Files = {}
    for column, one in enumerate(case.each()):
        for result in results(one, column):
            files |= result.encoded(partial(_secondary_capture, result), _ending(result))
    return files


def results(one: Case, column: int) -> Iterator[Result]:
    """The objects of a map: one, or one for each slice of a volume."""
    whole = Result(one, KIND, column)
    if one.image.original.pixels.ndim == 3:
        yield whole
        return
    yield from map(whole.of_slice, range(one.image.original.size[0]))


def _ending(result: Result) -> str:
    """The number of the slice, with as many digits as the last one has."""
    if result.slice is None:
        return ""
    return str(result.slice + 1).zfill(len(str(result.case.image.original.size[0])))


def _check_size(case: Case) -> None:
    size, maps = case.image.original.size, case.explanation.targets.shape[1]
    if 3 * math.prod(size) * maps > _MAX_BYTES:
        raise ExportError(
            f"a Secondary Capture was asked for; {maps} × {size[0]} slices in colour are more than "
            f"{_MAX_BYTES // 2**30} GiB: take pm or seg, or explain fewer classes"
        )


def _secondary_capture(result: Result) -> Dataset:
    from highdicom.sc import SCImage

    image = drawn(result.case) if result.slice is None else drawn_slice(result.case, result.slice)
    source = result.source
    dataset: Dataset = SCImage.from_ref_dataset(
        ref_dataset=source.first,
        pixel_array=np.asarray(image),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_PLACEHOLDER_ORIENTATION,
        content_qualification="RESEARCH",
        **result.common(),
    )
    dataset.SourceImageSequence = source.references()
    label = result.case.explanation.label(0)
    dataset.DerivationDescription = fit(f"{result.map_kind} of '{label}'. {result.description()}", 1024)
    # The overlay shows burned-in identity where one of its sources does. If a source does not state it, it is unknown.
    burned_in = {str(instance.header.get("BurnedInAnnotation") or "") for instance in source.instances}
    if "YES" in burned_in or burned_in == {"NO"}:
        dataset.BurnedInAnnotation = "YES" if "YES" in burned_in else "NO"
    return dataset
