"""What the evaluation was made with, as rows of names and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from pellucid.evaluation.plan import EvaluationPlan

ROWS = 500
_DEPTH = 6


def plan_rows(plan: EvaluationPlan) -> list[tuple[str, str]]:
    """Every entry of the plan, with the names of those in a table of it joined by dots."""
    each = {field.name: getattr(plan, field.name) for field in fields(plan) if field.repr}
    return list(_flat({**each, "data": asdict(plan.data)}, "", 0))


def provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The provenance, with the names of nested values joined by dots."""
    found = _flat(provenance, "", 0)
    return [row for row, _ in zip(found, range(ROWS), strict=False)]


def _flat(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth < _DEPTH:
        for key, each in value.items():
            yield from _flat(each, f"{path}.{key}" if path else str(key), depth + 1)
    else:
        yield path, _value(value)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value)) or "none"
    if value == "":
        return "not stated"
    return f"{value:g}" if isinstance(value, float) else str(value)
