"""NumPy: the explanation with its unscaled attribution, for ``pellucid.load_explanation``."""

from __future__ import annotations

import io

from pellucid.export.case import Case, Files, exporter


@exporter("npz")
def npz(case: Case) -> Files:
    """``…_explanation.npz``, without pickle."""
    buffer = io.BytesIO()
    case.explanation.save(buffer)
    return {f"{case.name}_explanation.npz": buffer.getvalue()}
