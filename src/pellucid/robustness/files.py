"""Writes a ``Robustness``: scores.csv, a row for each image and step, and robustness.json, all that is stated."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

from pellucid.errors import DataError
from pellucid.evaluation.plain import made, plain
from pellucid.export.csv_file import csv_file
from pellucid.export.writing import write
from pellucid.robustness.result import Robustness

CSV, JSON = "scores.csv", "robustness.json"
_NOT_STATED = ("scores", "failures")


def write_scores(found: Robustness, folder: Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write scores.csv and robustness.json into a folder, both or none of them; their paths.

    Raises:
        OutputExistsError: one is there already, and ``overwrite`` is false.
        WriteError: the system refuses to write.
    """
    write(folder, {CSV: to_csv(found), JSON: to_json(found)}, overwrite)
    return folder / CSV, folder / JSON


def to_csv(found: Robustness) -> bytes:
    """A row for each image, method, change and level; no value is an empty cell."""
    columns = list(found.scores[0]) if found.scores else []
    return csv_file(columns, ([_cell(row[name]) for name in columns] for row in found.scores))


def _cell(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def to_json(found: Robustness) -> bytes:
    """All but the rows of scores.csv and the failures, in UTF-8; equal results have equal bytes."""
    content = {one.name: plain(getattr(found, one.name)) for one in fields(found) if one.name not in _NOT_STATED}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode("utf-8", "backslashreplace")


def from_json(content: bytes) -> Robustness:
    """The result that ``to_json`` wrote, without the rows of scores.csv.

    Raises:
        DataError: it is not such a file.
        OptionError: its plan names a change or metric that is not installed.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise DataError("a result was given that pellucid did not write: give a robustness.json's content") from None
    result: Robustness = made(Robustness, found)
    return result
