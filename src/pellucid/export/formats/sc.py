"""DICOM Secondary Capture: the overlay as an RGB image that every DICOM viewer shows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Result, fit
from pellucid.export.drawing import drawn

if TYPE_CHECKING:
    from pydicom import Dataset

_PLACEHOLDER_ORIENTATION = ("L", "P")
"""highdicom requires an orientation. ``Source.complete`` replaces it by the source's own, or empties it."""


def export(case: Case) -> Files:
    """``…_sc.dcm`` of each map: the overlay with its colour bar and caption, burned in."""
    result = Result(case, "sc", "a Secondary Capture", series_number=9002)
    files: Files = {}
    for index, one in enumerate(case.each()):
        files |= result.encoded(partial(_secondary_capture, result, one, index), "sc", one.name)
    return files


def _secondary_capture(result: Result, one: Case, index: int) -> Dataset:
    from highdicom.sc import SCImage

    image = drawn(one)
    source = result.source
    common = result.common(str(index))
    common["instance_number"] += index
    dataset: Dataset = SCImage.from_ref_dataset(
        ref_dataset=source.first,
        pixel_array=np.asarray(image),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_PLACEHOLDER_ORIENTATION,
        content_qualification="RESEARCH",
        **common,
    )
    dataset.SourceImageSequence = source.references()
    label = one.explanation.label(0)
    dataset.DerivationDescription = fit(f"Class activation of '{label}'. {result.description()}", 1024)
    # The overlay shows burned-in identity where one of its sources does. If a source does not state it, it is unknown.
    burned_in = {str(instance.header.get("BurnedInAnnotation") or "") for instance in source.instances}
    if "YES" in burned_in or burned_in == {"NO"}:
        dataset.BurnedInAnnotation = "YES" if "YES" in burned_in else "NO"
    return dataset
