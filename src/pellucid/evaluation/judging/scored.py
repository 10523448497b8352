"""The scores of every finding as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pellucid.evaluation.measured import Measured


def score_rows(measured: Measured) -> tuple[Mapping[str, Any], ...]:
    """A row for each target, method and finding: whose it is, what is known of it, and the value of each metric.

    The values are as they were measured: NaN where there is none, also where the primary endpoint counts a miss.
    """
    return tuple(_rows(measured))


def _rows(measured: Measured) -> Iterator[Mapping[str, Any]]:
    priors = set(measured.priors)
    for target, methods in measured.values.items():
        for method in (*measured.methods, *measured.priors):
            columns = {name: column.tolist() for name, column in methods.get(method, {}).items()}
            for index in range(len(measured.findings) if columns else 0):
                about = {"target": target, "method": method, "prior": method in priors}
                values = {name: columns[name][index] if name in columns else None for name in measured.metrics}
                yield {**_finding(measured, index), **about, **values}


def _finding(measured: Measured, index: int) -> dict[str, Any]:
    finding = measured.findings[index]
    image = measured.images[finding.image]
    return {
        "image": image.name,
        "patient": image.patient,
        "split": image.split,
        "label": finding.label,
        "predicted": image.predicted,
        "area": finding.area,
        "probability": finding.probability,
        "called": finding.is_called,
    }
