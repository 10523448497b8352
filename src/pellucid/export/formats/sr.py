"""DICOM Structured Report (TID 1500): the probability of each class, and the region of its strongest evidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator
from matplotlib.path import Path
from torch import Tensor

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Result, fit
from pellucid.export.formats.seg import THRESHOLD

if TYPE_CHECKING:
    from highdicom.sr import AlgorithmIdentification, ImageRegion, ObservationContext
    from pydicom import Dataset

_SCHEME = "99PELLUCID"
_MAX_POINTS = 200
"""Points of an outline. More would add nothing: the layer's grid is coarser."""


def export(case: Case) -> Files:
    """``…_sr.dcm``: each class with its probability, and the outline of the region around the map's peak.

    Raises:
        ExportError: the head has no probabilities.
    """
    if not case.explanation.has_probabilities:
        raise ExportError(
            f"sr was asked for; it reports probabilities, which head {case.explanation.head!r} does not have: take sc"
        )
    result = Result(case, "sr", "a Structured Report", series_number=9004)
    return result.encoded(lambda: _report(result), "sr")


def _report(result: Result) -> Dataset:
    from highdicom.sr import CodedConcept, ComprehensiveSR, MeasurementReport
    from pydicom.sr.codedict import codes

    report = MeasurementReport(
        observation_context=_observer(result),
        procedure_reported=CodedConcept.from_code(codes.SCT.ImagingProcedure),
        imaging_measurements=[_finding(result, one, index) for index, one in enumerate(result.case.each())],
    )
    dataset: Dataset = ComprehensiveSR(
        evidence=result.source.headers,
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


def _finding(result: Result, one: Case, index: int) -> Any:
    """The measurement group of one class: its probability, and its region where the map is not empty."""
    from highdicom.sr import (
        CodedConcept,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    explanation = one.explanation
    target, label = int(explanation.targets[0, 0]), fit(explanation.label(0))
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=result.uid("finding", str(index)), identifier=label),
        "finding_type": CodedConcept(str(target), _SCHEME, label),
        "algorithm_id": _algorithm(result),
    }
    probability = explanation.reading(0, target).probability if target >= 0 else None  # a callable has none
    if probability is not None and math.isfinite(probability):
        measured = Measurement(name=codes.DCM.Probability, value=probability, unit=codes.UCUM.NoUnits)
        content["measurements"] = [measured]
    region = _region(result, one)
    if region is None:
        return MeasurementsAndQualitativeEvaluations(**content)
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **content)


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
    heat = one.heat()
    index = 0 if heat.ndim == 2 else int(heat.argmax()) // (heat.shape[1] * heat.shape[2])
    instance, header = result.source.instances[index], result.source.headers[index]
    frames = None if instance.frame is None else [instance.frame]
    image = SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames)
    points = outline(heat if heat.ndim == 2 else heat[index])
    return ImageRegion(graphic_type="POLYLINE", graphic_data=points, source_image=image)


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
