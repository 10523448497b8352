"""What belongs to every map: which image, which prediction, which settings, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.export.case import Case, Files
from pellucid.export.dicom_source import changes

_TOP = 5
_IDENTITY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "StudyDate",
    "StudyTime",
)
"""What ``keep_identity`` keeps."""


def metadata(case: Case, path: str, files: Files) -> Files:
    """``…_metadata.json`` of each map: one object, plain values only; no patient data, unless the case asks for it.

    ``path`` is the input file's, ``files`` are what else is written.
    """
    more: dict[str, Any] = {"identity": _identity(case)} if case.keep_identity else {}
    if any(name.endswith(".dcm") for name in files):
        more["source_changes"] = list(changes(case))
    return {
        f"{one.name}_metadata.json": _encoded(_facts(one, path, _own(files, one, case)) | more) for one in case.each()
    }


def _identity(case: Case) -> dict[str, str]:
    """Whom and what a picture shows, of a DICOM file's."""
    headers = [instance.header for instance in case.image.original.instances[:1]]
    return {name: str(header.get(name)) for header in headers for name in _IDENTITY if header.get(name)}


def _facts(case: Case, path: str, files: Sequence[str]) -> dict[str, Any]:
    one = case.explanation
    target = int(one.targets[0, 0])
    return {
        "image": path,
        "image_sha256": case.image.original.digest,
        "method": one.method,
        "layers": list(one.layers),
        "target_class": target if target >= 0 else None,
        "target_name": one.label(0),
        "prediction": _prediction(case),
        "degenerate": one.why_degenerate[0][0],
        "peak": _peak(case),
        "heatmap": _named(files, "_heatmap.png"),
        "overlay": _named(files, "_overlay.png"),
        "explanation": _named(files, "_explanation.npz"),
        "objects": [name for name in files if name.endswith(".dcm")],
        "model": dict(case.model),
        "image_provenance": dict(case.image.provenance),
        "provenance": dict(one.provenance),
    }


def finite(value: Tensor | float) -> float | None:
    """A number as JSON can hold it; None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def _encoded(facts: Mapping[str, Any]) -> bytes:
    # A file's name may hold bytes that are no text; written as \udc…, which JSON reads back.
    return json.dumps(facts, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _prediction(case: Case) -> dict[str, Any]:
    one = case.explanation
    chances = one.probabilities[0]
    top = chances.topk(min(_TOP, len(chances)))
    classes = top.indices.tolist()
    return {
        "predicted_class": classes[0],
        "predicted_name": one.class_name(classes[0]),
        "confidence": finite(top.values[0]),
        "top_k_classes": classes,
        "top_k_names": [one.class_name(index) for index in classes],
        "top_k_probs": [finite(value) for value in top.values],
        "head": one.head,
    }


def _peak(case: Case) -> dict[str, int] | None:
    """Where the map is strongest, in pixels of the original picture; None of a map that shows nothing."""
    if case.explanation.degenerate.all():
        return None
    heat = case.heat()
    places = torch.unravel_index(heat.argmax(), heat.shape)
    return dict(zip(("slice", "row", "column")[-heat.ndim :], map(int, places), strict=True))


def _own(files: Files, one: Case, case: Case) -> list[str]:
    """The names of the files that are a map's own, or of all the image's maps."""
    return [name for name in files if name.rpartition("_")[0] in (one.name, case.name)]


def _named(files: Sequence[str], ending: str) -> str | None:
    return next((name for name in files if name.endswith(ending)), None)
