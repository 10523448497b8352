"""The evaluation that belongs to a version of a model: its scores.json, and the verdict that it names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import DataError

NAME = "scores.json"
LARGEST = 2**28
_NOT_ONE = "give a scores.json that `pellucid evaluate` wrote, or its folder"


@dataclass(frozen=True)
class KeptEvaluation:
    """An evaluation in a registry: its file with the SHA-256, the primary metric, and each method's verdict by name."""

    path: Path
    sha256: str
    primary: str
    verdicts: Mapping[str, str]


def read_evaluation(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a scores.json, of which ``path`` is the file or the folder.

    Raises:
        DataError: there is none, or it is something else.
    """
    file = Path(path) / NAME if Path(path).is_dir() else Path(path)
    if not file.is_file() or file.stat().st_size > LARGEST:
        raise DataError(f"{file}: an evaluation was expected, got no such file of up to {LARGEST:,} bytes: {_NOT_ONE}")
    content = file.read_bytes()
    summary_of(content, file)
    return content


def summary_of(content: bytes, file: Path) -> dict[str, Any]:
    """Return what a record says of an evaluation: the digest, the primary metric, and the verdicts by method.

    Raises:
        DataError: it is no evaluation.
    """
    try:
        found = json.loads(content)
        verdicts = {row["method"]: row["verdict"]["claim"] for row in found["rows"] if row["verdict"] is not None}
        texts = [found["primary"], *verdicts, *verdicts.values()]
    except (ValueError, KeyError, TypeError, RecursionError):
        texts = [None]
    if not all(isinstance(one, str) for one in texts):
        raise DataError(f"{file}: an evaluation was expected, got other content: {_NOT_ONE}")
    return {"sha256": hashlib.sha256(content).hexdigest(), "primary": found["primary"], "verdicts": verdicts}
