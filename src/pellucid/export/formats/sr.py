"""DICOM Structured Report (TID 1500): the probability of each class, the region of its strongest evidence, its map.

Where maps were graded, the grade is a measurement, too, and stands in words beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator
from matplotlib.path import Path
from pydicom.uid import ParametricMapStorage, SecondaryCaptureImageStorage
from torch import Tensor

from pellucid.core.grade import GRADE, grade_of, grade_text, worth_text
from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import SCHEME, Kind, Result, fit
from pellucid.export.formats import pm, sc
from pellucid.export.formats.seg import THRESHOLD

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        ImageContentItem,
        ImageRegion,
        Measurement,
        ObservationContext,
        TextContentItem,
    )
    from pydicom import Dataset

    from pellucid.core.explanation import Explanation

KIND = Kind("sr", "a Structured Report", series_number=9004, series="source series")
_MAX_POINTS = 200
"""Points of an outline. More would add nothing: the layer's grid is coarser."""


def export(case: Case) -> Files:
    """``…_sr.dcm``: each class with its probability, and the outline of the region around the map's peak.

    Each class points at its map, where pm or sc are written of the same image.

    Raises:
        ExportError: the head has no probabilities.
    """
    if not case.explanation.has_probabilities:
        raise ExportError(
            f"sr was asked for; it reports probabilities, which head {case.explanation.head!r} does not have: take sc"
        )
    result = Result(case, KIND)
    return result.encoded(partial(_report, result))


def _report(result: Result) -> Dataset:
    from highdicom.sr import CodedConcept, ComprehensiveSR, MeasurementReport
    from pydicom.sr.codedict import codes

    cases = list(result.case.each())
    maps = [_maps(one, column, result.source.has_planes) for column, one in enumerate(cases)]
    report = MeasurementReport(
        observation_context=_observer(result),
        procedure_reported=CodedConcept.from_code(codes.SCT.ImagingProcedure),
        imaging_measurements=[_finding(result, one, index, maps[index]) for index, one in enumerate(cases)],
    )
    dataset: Dataset = ComprehensiveSR(
        evidence=[*result.source.headers, *(reference for own in maps for reference in own)],
        content=report[0],
        is_complete=True,
        is_final=False,
        **result.common(),
    )
    return dataset


def _observer(result: Result) -> ObservationContext:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=result.uid("observer"), name="pellucid", manufacturer_name="pellucid", model_name=result.model_name
    )
    return ObservationContext(
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    )


def _maps(one: Case, column: int, has_planes: bool) -> list[Dataset]:
    """References to the map among the results that are written with the report; of a volume's slices, to the peak's."""
    found = []
    if pm.KIND.name in one.formats and has_planes:
        found.append(Result(one, pm.KIND, column).reference(ParametricMapStorage))
    if sc.KIND.name in one.formats:
        found.append(list(sc.results(one, column))[_peak_slice(one)].reference(SecondaryCaptureImageStorage))
    return found


def _finding(result: Result, one: Case, index: int, maps: Sequence[Dataset]) -> Any:
    """The measurement group of one class: its measurements, and its region where the map is not empty."""
    from highdicom.sr import (
        CodedConcept,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        TrackingIdentifier,
    )

    explanation = one.explanation
    target, label = int(explanation.targets[0, 0]), fit(explanation.label(0))
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=result.uid("finding", str(index)), identifier=label),
        "finding_type": CodedConcept(str(target), SCHEME, label),
        "algorithm_id": _algorithm(result),
        "measurements": _measurements(explanation, target, label) or None,
    }
    region = _region(result, one)
    group: Any = (
        MeasurementsAndQualitativeEvaluations(**content)
        if region is None
        else PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **content)
    )
    comments = [_comment(text) for text in (label, *_graded(explanation))]
    group[0].ContentSequence.extend([*comments, *map(_visual_explanation, maps)])
    return group


def _measurements(explanation: Explanation, target: int, label: str) -> list[Measurement]:
    """The probability of the class, and the grade of its map.

    Viewers show the name and the value of a measurement beside its outline, and no other text: so the name of a
    measurement says of which finding it is.
    """
    from highdicom.sr import CodedConcept, Measurement
    from pydicom.sr.codedict import codes

    probability = codes.DCM.Probability
    figures = {
        (probability.value, "DCM", f"{probability.meaning} of {label}"): _chance(explanation, target),
        (GRADE, SCHEME, f"Grade of the map for {label}"): grade_of(explanation),
    }
    return [
        Measurement(name=CodedConcept(value, scheme, fit(meaning)), value=figure, unit=codes.UCUM.NoUnits)
        for (value, scheme, meaning), figure in figures.items()
        if figure is not None and math.isfinite(figure)
    ]


def _chance(explanation: Explanation, target: int) -> float | None:
    return explanation.reading(0, target).probability if target >= 0 else None  # a callable has none


def _graded(explanation: Explanation) -> list[str]:
    """The map's grade in words, with what it was measured to be worth, where it was asked for."""
    texts = [text for text in (grade_text(explanation), worth_text(explanation)) if text is not None]
    return ["; ".join(texts)] if texts else []


def _comment(text: str) -> TextContentItem:
    """A text, such as the finding's name, which viewers show where a measurement has no outline."""
    from highdicom.sr import TextContentItem
    from pydicom.sr.codedict import codes

    return TextContentItem(name=codes.DCM.Comment, value=text, relationship_type="CONTAINS")


def _visual_explanation(reference: Dataset) -> ImageContentItem:
    """The map as an item of TID 1410 and 1501."""
    from highdicom.sr import ImageContentItem
    from pydicom.sr.codedict import codes

    return ImageContentItem(
        name=codes.DCM.VisualExplanation,
        referenced_sop_class_uid=reference.SOPClassUID,
        referenced_sop_instance_uid=reference.SOPInstanceUID,
        relationship_type="CONTAINS",
    )


def _algorithm(result: Result) -> AlgorithmIdentification:
    from highdicom.sr import AlgorithmIdentification, CodedConcept
    from pydicom.sr.codedict import codes

    return AlgorithmIdentification(
        name=result.model_name,
        version=result.model_weights,
        parameters=[f"model weights SHA-256: {result.model_digest or 'unknown'}", result.description()],
        family=CodedConcept.from_code(codes.DCM.ArtificialIntelligence),
    )


def _region(result: Result, one: Case) -> ImageRegion | None:
    """The outline on the slice that holds the peak; None of an empty map."""
    from highdicom.sr import ImageRegion, SourceImageForRegion

    if one.explanation.degenerate.all():
        return None
    heat, index = one.heat(), _peak_slice(one)
    instance, header = result.source.instances[index], result.source.headers[index]
    frames = None if instance.frame is None else [instance.frame]
    image = SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames)
    points = outline(heat if heat.ndim == 2 else heat[index])
    return ImageRegion(graphic_type="POLYLINE", graphic_data=points, source_image=image)


def _peak_slice(one: Case) -> int:
    """The slice that holds the map's maximum; 0 of a 2-D image."""
    heat = one.heat()
    return 0 if heat.ndim == 2 else int(heat.argmax()) // (heat.shape[1] * heat.shape[2])


def outline(heat: Tensor) -> npt.NDArray[np.float64]:
    """The closed line (N, 2) of (column, row) at half of the maximum of a heatmap (H, W), around its peak.

    Coordinates are in pixels from the upper left corner of the first pixel, as in DICOM's spatial coordinates.
    """
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    padded = np.pad(heat.numpy().astype(np.float64), 1)  # so that every line closes
    lines: list[Any] = list(contour_generator(z=padded).lines(THRESHOLD * float(heat.max())))
    around: list[npt.NDArray[np.float64]] = [line for line in lines if Path(line).contains_point((column + 1, row + 1))]
    points = min(around, key=_area) - 0.5  # from pixel centres of the padded grid to pixel corners of the image
    points = np.vstack([points[: -1 : math.ceil(len(points) / _MAX_POINTS)], points[:1]])
    return np.clip(points, 0, (heat.shape[1], heat.shape[0]))


def _area(line: npt.NDArray[np.float64]) -> float:
    """The area inside a closed line (N, 2), by the shoelace formula."""
    x, y = line[:-1].T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
