"""DICOM Segmentation: the graded map, and the region where it reaches at least half of its maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Result, fit

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

THRESHOLD = 0.5
"""The binary segmentation holds the pixels whose value is at least this share of the map's maximum."""


def export(case: Case) -> Files:
    """``…_seg.dcm`` (FRACTIONAL, in steps of 1/255) and ``…_seg-binary.dcm``, one segment per map.

    Raises:
        ExportError: the source is not a DICOM file, or does not state the geometry that a Segmentation needs.
    """
    result = Result(case, "seg", "a Segmentation", series_number=9003)
    _check_geometry(result)
    maps = np.stack([one.heat().numpy().astype(np.float32) for one in case.each()], axis=-1)
    maps = maps if maps.ndim == 4 else maps[None]
    maximum = maps.max(axis=(0, 1, 2))
    strong = (maps >= THRESHOLD * maximum) & (maximum > 0)
    fractional = result.encoded(lambda: _segmentation(result, maps, "FRACTIONAL"), "seg")
    return fractional | result.encoded(lambda: _segmentation(result, strong, "BINARY"), "seg-binary")


def _check_geometry(result: Result) -> None:
    source = result.source
    if len(source.headers) > 1 and not source.has_planes:
        raise ExportError(
            "a Segmentation was asked for; the source holds several frames and does not state where they are in the "
            "patient: explain one, with --frame"
        )
    if source.has_planes and not all(header.get("SliceThickness") for header in source.headers):
        raise ExportError(
            "a Segmentation was asked for; the source does not state its slice thickness, which a Segmentation in the "
            "patient's coordinates needs: take pm, which does not need it"
        )


def _segmentation(result: Result, maps: npt.NDArray[np.float32] | npt.NDArray[np.bool_], kind: str) -> Dataset:
    """A Segmentation of maps (slices, H, W, segments)."""
    from highdicom.seg import Segmentation

    headers = result.source.headers
    return Segmentation(
        source_images=headers,
        pixel_array=maps,
        segmentation_type=kind,
        segment_descriptions=[_segment(result, one, index, kind) for index, one in enumerate(result.case.each())],
        omit_empty_frames=False,
        content_label="CLASS_ACTIVATION",
        content_description=fit(result.description()),
        content_creator_name="pellucid^",
        content_qualification="RESEARCH",
        **result.common(kind),
    )


def _segment(result: Result, one: Case, index: int, kind: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    label = one.explanation.label(0)
    segment = SegmentDescription(
        segment_number=index + 1,
        segment_label=fit(label),
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=codes.DCM.ClassActivation,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=fit(f"pellucid {one.explanation.method}"),
            family=codes.DCM.ArtificialIntelligence,
            version=result.common()["software_versions"],
        ),
    )
    scale = "1 is its strongest evidence" if kind == "FRACTIONAL" else f"at least {THRESHOLD} of its strongest"
    segment.SegmentDescription = fit(f"Class activation of '{label}', {scale}. {result.description()}", 1024)
    return segment
