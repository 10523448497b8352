"""DICOM Segmentation: the graded map, and where it is at least half of its strongest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files, exporter
from pellucid.export.dicom_result import Result, fit

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

THRESHOLD = 0.5
"""Of the map's strongest evidence: what the binary segmentation holds."""


@exporter("seg")
def seg(case: Case) -> Files:
    """``…_seg.dcm`` (FRACTIONAL, the map in steps of 1/255) and ``…_seg-binary.dcm``, a segment a map."""
    result = Result(case, "seg", "a Segmentation")
    if len(result.source.headers) > 1 and not result.source.has_planes:
        raise ExportError(
            "a Segmentation was asked for; the source holds several frames and does not say where they lie: explain "
            "one, with --frame"
        )
    if result.source.has_planes and not all(header.get("SliceThickness") for header in result.source.headers):
        raise ExportError(
            "a Segmentation was asked for; the source does not say how thick its slices are, which one in the patient "
            "must: take pm, which may leave it out"
        )
    maps = np.stack([one.heat().numpy().astype(np.float32) for one in case.each()], axis=-1)
    maps = maps if maps.ndim == 4 else maps[None]
    strongest = maps.max(axis=(0, 1, 2))
    strong = (maps >= THRESHOLD * strongest) & (strongest > 0)
    fractional = result.written(lambda: _made(result, maps, "FRACTIONAL"), "seg")
    return fractional | result.written(lambda: _made(result, strong, "BINARY"), "seg-binary")


def _made(result: Result, maps: npt.NDArray[np.float32] | npt.NDArray[np.bool_], kind: str) -> Dataset:
    """Maps (slices, H, W, segments)."""
    from highdicom.seg import Segmentation

    headers = result.source.headers
    return Segmentation(
        source_images=headers,
        pixel_array=maps,
        segmentation_type=kind,
        segment_descriptions=[_description(result, one, index, kind) for index, one in enumerate(result.case.each())],
        omit_empty_frames=False,
        content_label="CLASS_ACTIVATION",
        content_description=fit(result.described()),
        content_creator_name="pellucid^",
        content_qualification="RESEARCH",
        **result.common(kind),
    )


def _description(result: Result, one: Case, index: int, kind: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    label = one.explanation.label(0)
    made = SegmentDescription(
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
    share = "1 is its strongest evidence" if kind == "FRACTIONAL" else f"at least {THRESHOLD} of its strongest"
    made.SegmentDescription = fit(f"Class activation of '{label}', {share}. {result.described()}", 1024)
    return made
