"""DICOM Secondary Capture: the overlay as a picture that every viewer shows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.export.case import Case, Files, exporter
from pellucid.export.dicom_result import NOT_FOR_DIAGNOSIS, Result, fit
from pellucid.export.png import drawn
from pellucid.render import with_caption, with_colour_bar

if TYPE_CHECKING:
    from pydicom import Dataset

_UNKNOWN = ("L", "P")
"""highdicom wants an orientation; the source's own takes its place, or none."""


@exporter("sc")
def sc(case: Case) -> Files:
    """``…_sc.dcm`` of each map: RGB, with a colour bar, and what it is burned in below."""
    result = Result(case, "sc", "a Secondary Capture")
    files: Files = {}
    for index, one in enumerate(case.each()):
        files |= result.written(partial(_made, result, one, index), "sc", one.name)
    return files


def _made(result: Result, one: Case, index: int) -> Dataset:
    from highdicom.sc import SCImage

    picture = with_caption(with_colour_bar(drawn(one), one.colormap), _caption(one))
    source = result.source
    common = result.common(str(index))
    common["instance_number"] += index
    made: Dataset = SCImage.from_ref_dataset(
        ref_dataset=source.first,
        pixel_array=np.asarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=_UNKNOWN,
        content_qualification="RESEARCH",
        **common,
    )
    made.SourceImageSequence = source.references()
    made.DerivationDescription = fit(f"Class activation of '{one.explanation.label(0)}'. {result.described()}", 1024)
    # Whether a picture names its patient: this one does where one below does, and nobody knows where nobody said.
    said = {str(instance.header.get("BurnedInAnnotation") or "") for instance in source.instances}
    if "YES" in said or said == {"NO"}:
        made.BurnedInAnnotation = "YES" if "YES" in said else "NO"
    return made


def _caption(one: Case) -> str:
    """What is burned in; of a map that shows nothing, that it does."""
    why = one.explanation.why_degenerate[0][0]
    told = [one.explanation.label(0), one.explanation.method, NOT_FOR_DIAGNOSIS]
    return " · ".join(told if why is None else [*told[:2], f"the map is empty: {why}", told[2]])
