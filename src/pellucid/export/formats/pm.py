"""DICOM Parametric Map: the values of the maps at their position in the patient, which a viewer can measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_result import Result, fit

if TYPE_CHECKING:
    from highdicom.pm import RealWorldValueMapping
    from pydicom import Dataset

_MAX_LEVEL = 2**16 - 1


def export(case: Case) -> Files:
    """``…_pm.dcm``: the maps as channels of one object, in steps of 1/65535.

    Raises:
        ExportError: the source does not state where its pixels are in the patient. An invented position would be
            measured by viewers.
    """
    result = Result(case, "pm", "a Parametric Map", series_number=9001)
    if not result.source.has_planes:
        raise ExportError(
            "a Parametric Map was asked for; the source does not state where its pixels are in the patient (frame of "
            "reference, position, orientation and spacing): take seg, which needs none of these"
        )
    return result.encoded(lambda: _parametric_map(result), "pm")


def _parametric_map(result: Result) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap

    maps = np.stack([one.heat().numpy() for one in result.case.each()], axis=-1)
    stored = np.rint(maps * _MAX_LEVEL).astype(np.uint16)
    dataset: Dataset = ParametricMap(
        source_images=result.source.headers,
        pixel_array=stored if stored.ndim == 4 else stored[None],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_mapping(one)] for one in result.case.each()],
        voi_lut_transformations=[VOILUTTransformation(window_center=_MAX_LEVEL / 2, window_width=_MAX_LEVEL)],
        content_label="CLASS_ACTIVATION",
        content_description=fit(result.description()),
        content_creator_name="pellucid^",
        content_qualification="RESEARCH",
        **result.common(),
    )
    return dataset


def _mapping(one: Case) -> RealWorldValueMapping:
    from highdicom.pm import RealWorldValueMapping
    from pydicom.sr.codedict import codes

    return RealWorldValueMapping(
        lut_label="CLASS_ACTIVATION",
        lut_explanation=fit(f"Class activation of '{one.explanation.label(0)}', 1 is its strongest evidence"),
        unit=codes.UCUM.NoUnits,
        value_range=(0, _MAX_LEVEL),
        slope=1 / _MAX_LEVEL,
        intercept=0,
        quantity_definition=codes.DCM.ClassActivation,
    )
