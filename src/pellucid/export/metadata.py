"""What belongs to every map: which image, which prediction, which settings, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pellucid.export.case import Case, Files

_TOP = 5


def metadata(case: Case, path: str, digest: str, model: Mapping[str, Any], files: Files) -> Files:
    """``…_metadata.json``: one object, plain values only, no patient data.

    ``path`` and ``digest`` are the input file's, ``model`` says where the model came from, ``files`` are
    what else is written of this map.
    """
    one = case.explanation
    target = int(one.targets[0, 0])
    facts = {
        "image": path,
        "image_sha256": digest,
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
        "model": dict(model),
        "image_provenance": dict(case.image.provenance),
        "provenance": dict(one.provenance),
    }
    return {f"{case.name}_metadata.json": _encoded(facts)}


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
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    return {"row": row, "column": column}


def _named(files: Files, ending: str) -> str | None:
    return next((name for name in files if name.endswith(ending)), None)
