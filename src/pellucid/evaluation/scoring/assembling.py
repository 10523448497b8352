"""From the records of findings and images to ``Measured``: columns of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.evaluation.case import Data
from pellucid.evaluation.measured import Column, Measured, MetricFacts
from pellucid.evaluation.scoring.batches import Batches
from pellucid.evaluation.scoring.request import Requested
from pellucid.evaluation.scoring.scorer import Rows
from pellucid.evaluation.scoring.survey import Survey


def assembled(
    batches: Batches,
    survey: Survey,
    asked: Requested,
    findings: Rows,
    lesion_free: Rows,
    chosen: Rows,
    data: Data,
    provenance: Mapping[str, Any],
    notes: Sequence[str],
) -> Measured:
    """All that was measured; ``findings``, ``lesion_free`` and ``chosen`` are records in the order of ``batches``."""
    found, names = batches.found, asked.names
    predicted = survey.predicted
    targets = ("label",) if predicted is None else ("label", "predicted")
    gated = [row for row in findings if row["gates"]]
    return Measured(
        images=found.images,
        findings=[found.findings[number].finding for number in batches.numbers],
        methods=asked.of_methods,
        priors=[name for name in names if name not in asked.of_methods],
        metrics={label: _facts(metric) for label, metric in asked.metrics.items()},
        primary=asked.primary,
        values={
            target: {
                name: {
                    label: _column(row["values"][target][name].get(label) for row in findings)
                    for label in asked.metrics
                }
                for name in names
            }
            for target in targets
        },
        overlaps={name: _table([row["overlaps"][name] for row in findings]) for name in names},
        chosen={name: _table([row["overlaps"][name] for row in chosen]) for name in names if chosen},
        partners=batches.partners,
        shuffled={name: _column(row["shuffled"][name] for row in findings) for name in names},
        reshuffled={name: _table([row["reshuffled"][name] for row in findings]) for name in asked.of_methods},
        untrained={
            name: _column(row["untrained"].get(name) for row in findings)
            for name in asked.methods
            if any(name in row["untrained"] for row in findings)
        },
        without=tuple(batches.without),
        lesion_free={
            name: {what: _column(row["heat"][name][what] for row in lesion_free) for what in _whats(lesion_free, name)}
            for name in names
        },
        even={what: _column(row["even"][what] for row in lesion_free) for what in _evens(lesion_free)},
        gates={
            name: {label: _column(row["gates"][name].get(label) for row in gated) for label in asked.gates}
            for name in asked.methods
            if gated
        },
        reasons=_reasons(findings, asked),
        excluded=found.excluded,
        given=len(data.cases) + len(data.excluded),
        classes=None if predicted is None else predicted.classes,
        multilabel=predicted is not None and predicted.independent,
        notes=tuple(notes),
        provenance=provenance,
    )


def _facts(metric: Any) -> MetricFacts:
    return MetricFacts(metric.better, metric.proportion, metric.needs_mask)


def _column(values: Any) -> Column:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _table(rows: Sequence[Sequence[float | None]]) -> npt.NDArray[np.float64]:
    found = [[np.nan if value is None else value for value in row] for row in rows]
    return np.array(found, dtype=np.float64)


def _whats(rows: Rows, name: str) -> Sequence[str]:
    return list(rows[0]["heat"][name]) if rows else []


def _evens(rows: Rows) -> Sequence[str]:
    return list(rows[0]["even"]) if rows else []


def _reasons(rows: Rows, asked: Requested) -> dict[str, dict[str, int]]:
    """By metric, why values are missing: a map that is not there has no value of any."""
    found: Counter[str] = Counter()
    for row in rows:
        for text, count in row.get("reasons", {}).items():
            found[text] += count
    return {label: dict(found) for label in asked.metrics} if found else {}
