"""What both Segmentations of an image share: the binary one of its strongest evidence, and that of the graded maps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Kind, Result, fit

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

Maps = npt.NDArray[np.float32] | npt.NDArray[np.bool_]


def maps_of(case: Case) -> npt.NDArray[np.float32]:
    """The maps of an image, (slices, H, W, segments)."""
    maps = np.stack([one.heat().numpy().astype(np.float32) for one in case.each()], axis=-1)
    return maps if maps.ndim == 4 else maps[None]


def segmentation(case: Case, kind: Kind, maps: Maps, scale: str) -> Files:
    """A Segmentation with a segment for each map, BINARY or FRACTIONAL as the maps are; ``scale`` describes them.

    Raises:
        ExportError: the source is not a DICOM file, or does not state the geometry that a Segmentation needs.
    """
    result = Result(case, kind)
    _check_geometry(result)
    return result.encoded(partial(_segmentation, result, maps, scale))


def _check_geometry(result: Result) -> None:
    source, what = result.source, result.kind.what
    if not source.has_planes and not result.case.allow_seg_without_geometry:
        raise ExportError(
            f"{what} was asked for; the source does not state where its pixels are in the patient (frame of reference, "
            "position, orientation and spacing), and viewers fail on one without: take sc or sr, or insist with "
            "allow_seg_without_geometry=True"
        )
    if not source.has_planes and len(source.headers) > 1:
        raise ExportError(
            f"{what} was asked for; the source holds several frames and does not state where they are in the patient: "
            "explain one, with frame="
        )
    if source.has_planes and not all(header.get("SliceThickness") for header in source.headers):
        raise ExportError(
            f"{what} was asked for; the source does not state its slice thickness, which a Segmentation in the "
            "patient's coordinates needs: take sc or sr, which do not need it"
        )


def _segmentation(result: Result, maps: Maps, scale: str) -> Dataset:
    from highdicom.seg import Segmentation

    return Segmentation(
        source_images=result.source.headers,
        pixel_array=maps,
        segmentation_type="BINARY" if maps.dtype == np.bool_ else "FRACTIONAL",
        segment_descriptions=[_segment(result, one, index, scale) for index, one in enumerate(result.case.each())],
        omit_empty_frames=False,
        content_label="VISUAL_EXPLAIN",
        content_description=fit(result.description()),
        content_creator_name="pellucid^",
        content_qualification="RESEARCH",
        **result.common(),
    )


def _segment(result: Result, one: Case, index: int, scale: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    label = one.explanation.label(0)
    segment = SegmentDescription(
        segment_number=index + 1,
        segment_label=fit(label),
        segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
        segmented_property_type=result.quantity(),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=fit(f"pellucid {one.explanation.method}"),
            family=codes.DCM.ArtificialIntelligence,
            version=result.common()["software_versions"],
        ),
    )
    segment.SegmentDescription = fit(f"{result.map_kind} of '{label}', {scale}. {result.description()}", 1024)
    return segment
