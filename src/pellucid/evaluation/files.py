"""Writes an evaluation as files: scores.csv, a row for each score, and scores.json, all that the report states."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pellucid.errors import DataError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.plain import made, plain
from pellucid.export.csv_file import csv_file
from pellucid.export.writing import write

CSV, JSON = "scores.csv", "scores.json"
_SCORES = "scores"
_APART = (_SCORES, "failures")


def write_scores(evaluation: Evaluation, folder: Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write scores.csv and scores.json into a folder, both or none of them; their paths.

    Raises:
        OutputExistsError: one is there already, and ``overwrite`` is false.
        WriteError: the system refuses to write.
    """
    write(folder, {CSV: to_csv(evaluation), JSON: to_json(evaluation)}, overwrite)
    return folder / CSV, folder / JSON


def to_csv(evaluation: Evaluation) -> bytes:
    """A row for each target, method and finding, with the metrics as columns; no value is an empty cell."""
    columns, rows = _table(evaluation.scores)
    return csv_file(columns, ([_cell(value) for value in row] for row in rows))


def _cell(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def to_json(evaluation: Evaluation) -> bytes:
    """The whole evaluation in UTF-8, with a table of the scores; equal evaluations have equal bytes.

    A number that there is none of is null. The failures, which name paths, are left out.
    """
    columns, rows = _table(evaluation.scores)
    found = {one.name: plain(getattr(evaluation, one.name)) for one in fields(evaluation) if one.name not in _APART}
    content = {**found, _SCORES: {"columns": plain(columns), "rows": plain(rows)}}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode("utf-8", "backslashreplace")  # half of a surrogate pair becomes its JSON escape


def from_json(content: bytes) -> Evaluation:
    """The evaluation that ``to_json`` wrote.

    Raises:
        DataError: it is not such a file.
        OptionError: its plan names a metric or prior that is not installed.
    """
    try:
        found = json.loads(content)
        scores = found.pop(_SCORES)
        rows = [dict(zip(scores["columns"], row, strict=True)) for row in scores["rows"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError("scores were given that pellucid did not write: give the content of a scores.json") from None
    evaluation: Evaluation = made(Evaluation, found)
    return replace(evaluation, scores=tuple(rows))


def _table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """The columns of all rows, in the order in which they first appear, and the cells."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[row.get(name) for name in columns] for row in rows]
