"""NumPy: the explanation with its unscaled attribution, for ``pellucid.load_explanation``."""

from __future__ import annotations

import io

from pellucid.export.case import Case, Files


def export(case: Case) -> Files:
    """``…_explanation.npz`` of each map, without pickle."""
    return {f"{one.name}_explanation.npz": _packed(one) for one in case.each()}


def _packed(one: Case) -> bytes:
    buffer = io.BytesIO()
    one.explanation.save(buffer)
    return buffer.getvalue()
