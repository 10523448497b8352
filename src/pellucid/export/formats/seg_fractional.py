"""DICOM Segmentation of the graded maps, in steps of 1/255. Few viewers show this kind."""

from __future__ import annotations

from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Kind
from pellucid.export.segmentation import maps_of, segmentation

KIND = Kind("seg-fractional", "a Segmentation", series_number=9005, series="object")


def export(case: Case) -> Files:
    """``…_seg-fractional.dcm`` (FRACTIONAL), one segment for each map.

    Raises:
        ExportError: the source is not a DICOM file, or does not state the geometry that a Segmentation needs.
    """
    return segmentation(case, KIND, maps_of(case), "1 is its strongest evidence")
