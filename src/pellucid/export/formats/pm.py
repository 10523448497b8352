"""DICOM Parametric Map: the values of the maps at their position in the patient, which a viewer can measure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Kind, Result, fit
from pellucid.export.frames import anatomy, ascend

if TYPE_CHECKING:
    from highdicom.pm import RealWorldValueMapping
    from pydicom import Dataset

KIND = Kind("pm", "a Parametric Map", series_number=9001, series="object")
_LABEL = "VISUAL_EXPLAIN"
"""At most 16 characters."""


def export(case: Case) -> Files:
    """``…_pm.dcm`` of each map: its values as Float Pixel Data.

    One object holds one map: of several channels, viewers show the first.

    Raises:
        ExportError: the source does not state where its pixels are in the patient. An invented position would be
            measured by viewers.
    """
    files: Files = {}
    for column, one in enumerate(case.each()):
        result = Result(one, KIND, column)
        if not result.source.has_planes:
            raise ExportError(
                "a Parametric Map was asked for; the source does not state where its pixels are in the patient (frame "
                "of reference, position, orientation and spacing): take sc or sr, which need none of these"
            )
        files |= result.encoded(partial(_parametric_map, result))
    return files


def _parametric_map(result: Result) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap

    values = result.case.heat().numpy().astype(np.float32)
    dataset: Dataset = ParametricMap(
        source_images=result.source.headers,
        pixel_array=values if values.ndim == 3 else values[None],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(result)],
        voi_lut_transformations=[VOILUTTransformation(window_center=0.5, window_width=1.0)],
        content_label=_LABEL,
        content_description=fit(result.description()),
        content_creator_name="pellucid^",
        content_qualification="RESEARCH",
        **result.common(),
    )
    ascend(dataset)
    dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy(result.source.instances[0].header)]
    return dataset


def _mapping(result: Result) -> RealWorldValueMapping:
    from highdicom.pm import RealWorldValueMapping
    from pydicom.sr.codedict import codes

    label = result.case.explanation.label(0)
    return RealWorldValueMapping(
        lut_label=_LABEL,
        lut_explanation=fit(f"{result.map_kind} of '{label}', 1 is its strongest evidence"),
        unit=codes.UCUM.NoUnits,
        value_range=(0.0, 1.0),
        slope=1,
        intercept=0,
        quantity_definition=result.quantity(),
    )
