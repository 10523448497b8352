"""Writes the facts behind each map as JSON: the image, the prediction, the settings and the files that belong to it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.grade import grade_text, worth_text
from pellucid.core.head import AS_RETURNED
from pellucid.export.case import Case, Files
from pellucid.export.dicom_source import changes
from pellucid.export.earlier import ENDING

_TOP = 5
"""Number of most probable classes that are listed."""
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
"""Attributes that ``keep_identity`` keeps."""


def metadata(case: Case, path: str, files: Files, more: Mapping[str, Any] | None = None) -> Files:
    """``…_metadata.json`` of each map: one JSON object, without patient data unless the case asks for it.

    ``path`` is the input file; ``files`` are the results that the exporters made of the case; ``more`` are further
    facts of the input. ``pellucid.report`` reads these files.
    """
    more = dict(more or {}) | ({"identity": _identity(case)} if case.keep_identity else {})
    if any(name.endswith(".dcm") for name in files):
        more["source_changes"] = list(changes(case))
    if case.deidentifier is not None:
        # A file's name may be the patient's, and a digest names the file to everyone who has it.
        more |= {
            "image": PurePath(path).name,
            "image_sha256": None,
            "image_provenance": _without_files(case.image.provenance),
        }
    names = [one.name for one in case.each()]
    return {
        f"{one.name}{ENDING}": encoded(_facts(one, path, _files_of(one.name, case.name, names, files)) | more)
        for one in case.each()
    }


def _identity(case: Case) -> dict[str, str]:
    """The patient and the study, as the DICOM file names them."""
    headers = [instance.header for instance in case.image.original.instances[:1]]
    return {name: str(header.get(name)) for header in headers for name in _IDENTITY if header.get(name)}


def _without_files(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of an image without its channels' files."""
    kept = dict(provenance)
    if "channels" in kept:
        kept["channels"] = [{k: v for k, v in one.items() if k not in ("file", "sha256")} for one in kept["channels"]]
    return kept


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
        "target_probability": _probability(one, target),
        "target_value": _value(one, target),
        "target_logit": _logit(one, target),
        "prediction": _prediction(case),
        "evidence": finite(one.attributions.max()),
        "degenerate": one.why_degenerate[0][0],
        "checks": {name: finite(values[0, 0]) for name, values in one.checks.items()},
        "grade": _grade(one),
        "peak": _peak(case),
        "shape": list(case.image.original.pixels.shape[1:]),
        "heatmap": _first_with(files, "_heatmap.png"),
        "overlay": _first_with(files, "_overlay.png"),
        "explanation": _first_with(files, "_explanation.npz"),
        "objects": [name for name in files if name.endswith(".dcm")],
        "files": list(files),
        "model": dict(case.model),
        "image_provenance": dict(case.image.provenance),
        "provenance": dict(one.provenance),
    }


def _grade(one: Explanation) -> dict[str, str | None] | None:
    """The map's grade in words, and what it was measured to be worth; None where it was not asked for."""
    text = grade_text(one)
    return None if text is None else {"text": text, "worth": worth_text(one)}


def _probability(one: Explanation, target: int) -> float | None:
    """The probability of the explained class; None of a callable, and of a head that has none."""
    found = one.reading(0, target).probability if target >= 0 else None
    return None if found is None else finite(found)


def _value(one: Explanation, target: int) -> float | None:
    """The value of a regression head that a map belongs to; None of any other head, and of a callable."""
    found = one.reading(0, target).value if target >= 0 else None
    return None if found is None else finite(found)


def _logit(one: Explanation, target: int) -> float | None:
    """The logit of the explained class; None of a callable, and of a model that returns probabilities or values."""
    return finite(one.logits[0, target]) if target >= 0 and one.head not in AS_RETURNED else None


def finite(value: Tensor | float) -> float | None:
    """A number that JSON can hold; None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def encoded(facts: Mapping[str, Any]) -> bytes:
    """The content of a metadata file: a fact a line. What indents further is written in Python, ten times slower."""
    lines = ",\n".join(
        f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(fact, ensure_ascii=False)}"
        for name, fact in facts.items()
    )
    # Bytes of a file name that are not valid text are written as \udc…, which JSON reads back.
    return f"{{\n{lines}\n}}".encode("utf-8", "backslashreplace")


def _prediction(case: Case) -> dict[str, Any]:
    one = case.explanation
    if not one.has_probabilities:
        names = [one.value_name(number) for number in range(one.values.shape[1])]
        return {"values": dict(zip(names, map(finite, one.values[0]), strict=True)), "head": one.head}
    probabilities = one.probabilities[0]
    top = probabilities.topk(min(_TOP, len(probabilities)))
    classes = top.indices.tolist()
    return {
        "predicted_class": classes[0],
        "predicted_name": one.class_name(classes[0]),
        "confidence": finite(top.values[0]),
        "top_k_classes": classes,
        "top_k_names": [one.class_name(index) for index in classes],
        "top_k_probs": [finite(value) for value in top.values.tolist()],
        "head": one.head,
        "probabilities": [finite(value) for value in probabilities.tolist()],
        "class_names": None if one.classes is None else list(one.classes),
    }


def _peak(case: Case) -> dict[str, int] | None:
    """The position of the map's maximum, in pixels of the original image; None of an empty map."""
    if case.explanation.degenerate.all():
        return None
    heat = case.heat()
    position = torch.unravel_index(heat.argmax(), heat.shape)
    return dict(zip(("slice", "row", "column")[-heat.ndim :], map(int, position), strict=True))


def _files_of(own: str, whole: str, maps: Sequence[str], files: Files) -> list[str]:
    """The names of the files of one map, and of those that hold all maps of the image.

    A file belongs to the map whose name is its longest prefix, and to the whole case if no map's name is one.
    """
    owners = {
        file: max((name for name in maps if file.startswith(f"{name}_")), key=len, default=whole) for file in files
    }
    return [file for file, owner in owners.items() if owner in (own, whole)]


def _first_with(files: Sequence[str], ending: str) -> str | None:
    return next((name for name in files if name.endswith(ending)), None)
