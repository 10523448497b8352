"""What was measured so far, on the disk: a run that was killed goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pellucid.errors import WriteError

NAME = ".scores.jsonl"
_MOST_BYTES = 2**32
_MOST_LINE = 2**26


class Journal:
    """Records by key, in a file of one line each. A line that was not finished does not count.

    ``path`` None keeps them in memory. A key is a digest of all that a record depends on, so a record is never stale.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: dict[str, Any] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Journal:
        """Read what is there, and open the file for more."""
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                whole = self._read(self._path)
                self._file = self._path.open("r+" if self._path.exists() else "w", encoding="utf-8")
                self._file.seek(whole)
                self._file.truncate()
            except OSError as error:
                raise WriteError(f"{self._path}: scores cannot be kept there ({error.strerror})") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def get(self, key: str) -> Any | None:
        """The record of a key; None if there is none."""
        return self._records.get(key)

    def keep(self, key: str, record: Mapping[str, Any]) -> Any:
        """Keep a record, on the disk when this returns; returns it as it will be read."""
        line = json.dumps({"key": key, "record": record}, allow_nan=False)
        self._records[key] = json.loads(line)["record"]
        if self._file is not None:
            try:
                self._file.write(line + "\n")
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise WriteError(f"{self._path}: scores cannot be kept there ({error.strerror})") from None
        return self._records[key]

    def _read(self, path: Path) -> int:
        """Read the records; returns how many bytes of the file are whole lines."""
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return 0
        whole = 0
        with path.open("rb") as file:
            while line := file.readline(_MOST_LINE):
                found = _record(line)
                if found is None:
                    break
                self._records[found[0]] = found[1]
                whole += len(line)
        return whole


def _record(line: bytes) -> tuple[str, Any] | None:
    """The key and record of a line; None of one that was not finished."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
        return str(found["key"]), found["record"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
