"""DICOM Parametric Map: the map's values at places in the patient, of sources that say where their pixels lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files, exporter
from pellucid.export.dicom_result import Result, fit

if TYPE_CHECKING:
    from highdicom.pm import RealWorldValueMapping
    from pydicom import Dataset

_LEVELS = 2**16 - 1


@exporter("pm")
def pm(case: Case) -> Files:
    """``…_pm.dcm``: the maps as channels of one object, in steps of 1/65535.

    Raises:
        ExportError: the source does not say where its pixels lie; a viewer would measure in what was made up.
    """
    result = Result(case, "pm", "a Parametric Map")
    if not result.source.has_planes:
        raise ExportError(
            "a Parametric Map was asked for; the source does not say where its pixels lie in the patient (its frame of "
            "reference, position, orientation and spacing): take seg, which needs none"
        )
    return result.written(lambda: _made(result), "pm")


def _made(result: Result) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap

    maps = np.stack([one.heat().numpy() for one in result.case.each()], axis=-1)
    stored = np.rint(maps * _LEVELS).astype(np.uint16)
    made: Dataset = ParametricMap(
        source_images=result.source.headers,
        pixel_array=stored if stored.ndim == 4 else stored[None],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[[_mapping(one)] for one in result.case.each()],
        voi_lut_transformations=[VOILUTTransformation(window_center=_LEVELS / 2, window_width=_LEVELS)],
        content_label="CLASS_ACTIVATION",
        content_description=fit(result.described()),
        content_creator_name="pellucid^",
        content_qualification="RESEARCH",
        **result.common(),
    )
    return made


def _mapping(one: Case) -> RealWorldValueMapping:
    from highdicom.pm import RealWorldValueMapping
    from pydicom.sr.codedict import codes

    return RealWorldValueMapping(
        lut_label="CLASS_ACTIVATION",
        lut_explanation=fit(f"Class activation of '{one.explanation.label(0)}', 1 is its strongest evidence"),
        unit=codes.UCUM.NoUnits,
        value_range=(0, _LEVELS),
        slope=1 / _LEVELS,
        intercept=0,
        quantity_definition=codes.DCM.ClassActivation,
    )
