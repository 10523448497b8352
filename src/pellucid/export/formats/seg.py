"""DICOM Segmentation: the region where a map reaches at least half of its maximum."""

from __future__ import annotations

from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Kind
from pellucid.export.segmentation import maps_of, segmentation

KIND = Kind("seg", "a Segmentation", series_number=9003, series="object")
THRESHOLD = 0.5
"""A segment holds the pixels whose value is at least this share of the map's maximum."""


def export(case: Case) -> Files:
    """``…_seg.dcm`` (BINARY), one segment for each map.

    Raises:
        ExportError: the source is not a DICOM file, or does not state the geometry that a Segmentation needs.
    """
    maps = maps_of(case)
    maximum = maps.max(axis=(0, 1, 2))
    strong = (maps >= THRESHOLD * maximum) & (maximum > 0)
    return segmentation(case, KIND, strong, f"at least {THRESHOLD} of its strongest evidence")
