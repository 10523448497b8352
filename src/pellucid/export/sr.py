"""DICOM Structured Report (TID 1500): what the model says of each class, and where its evidence is strongest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator
from matplotlib.path import Path
from torch import Tensor

from pellucid.export.case import Case, Files, exporter
from pellucid.export.dicom_result import Result, fit
from pellucid.export.seg import THRESHOLD

if TYPE_CHECKING:
    from highdicom.sr import AlgorithmIdentification, ImageRegion, ObservationContext
    from pydicom import Dataset

_SCHEME = "99PELLUCID"
_POINTS = 200
"""Of an outline, at most: what it says is no finer than the layer's grid."""


@exporter("sr")
def sr(case: Case) -> Files:
    """``…_sr.dcm``: each class with its probability, and the outline of where the map is strong, around its peak."""
    result = Result(case, "sr", "a Structured Report")
    return result.written(lambda: _made(result), "sr")


def _made(result: Result) -> Dataset:
    from highdicom.sr import CodedConcept, ComprehensiveSR, MeasurementReport
    from pydicom.sr.codedict import codes

    report = MeasurementReport(
        observation_context=_observer(result),
        procedure_reported=CodedConcept.from_code(codes.SCT.ImagingProcedure),
        imaging_measurements=[_finding(result, one, index) for index, one in enumerate(result.case.each())],
    )
    made: Dataset = ComprehensiveSR(
        evidence=result.source.headers,
        content=report[0],
        is_complete=True,
        is_final=False,
        **result.common(),
    )
    return made


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
    """A class: its probability, and the region where there is one."""
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
    told: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=result.uid("finding", str(index)), identifier=label),
        "finding_type": CodedConcept(str(target), _SCHEME, label),
        "algorithm_id": _algorithm(result),
    }
    chance = float(explanation.probabilities[0, target]) if target >= 0 else math.nan  # a callable has none
    if math.isfinite(chance):
        told["measurements"] = [Measurement(name=codes.DCM.Probability, value=chance, unit=codes.UCUM.NoUnits)]
    region = _region(result, one)
    if region is None:
        return MeasurementsAndQualitativeEvaluations(**told)
    return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **told)


def _algorithm(result: Result) -> AlgorithmIdentification:
    from highdicom.sr import AlgorithmIdentification, CodedConcept
    from pydicom.sr.codedict import codes

    told = [f"model weights SHA-256: {result.model_digest or 'unknown'}", result.described()]
    return AlgorithmIdentification(
        name=result.model_name,
        version=result.model_weights,
        parameters=told,
        family=CodedConcept.from_code(codes.DCM.ArtificialIntelligence),
    )


def _region(result: Result, one: Case) -> ImageRegion | None:
    """The outline on the slice of the peak; None of a map that shows nothing."""
    from highdicom.sr import ImageRegion, SourceImageForRegion

    if one.explanation.degenerate.all():
        return None
    heat = one.heat()
    slice_ = 0 if heat.ndim == 2 else int(heat.argmax()) // (heat.shape[1] * heat.shape[2])
    instance = result.source.instances[slice_]
    header = result.source.headers[slice_]
    image = SourceImageForRegion(
        header.SOPClassUID,
        header.SOPInstanceUID,
        None if instance.frame is None else [instance.frame],
    )
    points = outline(heat if heat.ndim == 2 else heat[slice_])
    return ImageRegion(graphic_type="POLYLINE", graphic_data=points, source_image=image)


def outline(heat: Tensor) -> npt.NDArray[np.float64]:
    """The closed line (N, 2) around a heatmap's peak (H, W) where it falls to half: columns and rows.

    They count from the upper left corner of the first pixel, as DICOM's spatial coordinates do.
    """
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    padded = np.pad(heat.numpy().astype(np.float64), 1)  # so that every line closes
    lines: list[Any] = list(contour_generator(z=padded).lines(THRESHOLD * float(heat.max())))
    around: list[npt.NDArray[np.float64]] = [line for line in lines if Path(line).contains_point((column + 1, row + 1))]
    points = min(around, key=_area) - 0.5  # from centres in the padded grid to corners in the picture's
    points = np.vstack([points[: -1 : math.ceil(len(points) / _POINTS)], points[:1]])
    return np.clip(points, 0, (heat.shape[1], heat.shape[0]))


def _area(line: npt.NDArray[np.float64]) -> float:
    x, y = line[:-1].T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
