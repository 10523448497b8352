"""What was measured so far, on the disk: a run that was killed goes on from there."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from pellucid.errors import WriteError
from pellucid.export.writing import write_error

try:
    import fcntl
except ImportError:  # a system without such locks
    fcntl = None  # type: ignore[assignment]  # a module, or none

NAME = ".scores.jsonl"
_MOST_BYTES = 2**32
_MOST_LINE = 2**26
_BEGIN = b'{"key": "'
"""How each line begins."""


class Journal:
    """Records by key, in a file of one line each. A line that was not finished does not count.

    ``path`` None keeps them in memory. A key is a digest of all that a record depends on, so a record is never stale.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: dict[str, Any] = {}
        self._file: FileIO | None = None

    def __enter__(self) -> Journal:
        """Read what is there, and open the file for more."""
        if self._path is not None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _opened(self._path)
                self._file.truncate(self._file.seek(self._read(self._path, self._file)))
            except OSError as error:
                self.close()
                raise write_error(self._path, error) from None
            except WriteError:
                self.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; records are not kept any more."""
        if self._file is not None:
            self._file.close()

    def get(self, key: str) -> Any | None:
        """The record of a key; None if there is none."""
        return self._records.get(key)

    def keep(self, key: str, record: Mapping[str, Any]) -> Any:
        """Keep a record, on the disk when this returns; returns it as it will be read."""
        line = json.dumps({"key": key, "record": record}, allow_nan=False)
        self._records[key] = json.loads(line)["record"]
        if self._file is not None and self._path is not None:
            try:
                rest = memoryview(f"{line}\n".encode())
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                raise write_error(self._path or Path(), error) from None
        return self._records[key]

    def _read(self, path: Path, opened: FileIO) -> int:
        """Read the records; returns how many bytes of the file are whole lines."""
        size = os.fstat(opened.fileno()).st_size
        whole = 0
        with os.fdopen(os.dup(opened.fileno()), "rb") as file:
            while size <= _MOST_BYTES and (line := file.readline(_MOST_LINE)):
                found = _record(line)
                if found is None:
                    _check_own(path, line, whole)
                    break
                self._records[found[0]] = found[1]
                whole += len(line)
        return whole


def _opened(path: Path) -> FileIO:
    """Open the file of a journal, and lock it: two runs must not write over each other.

    Raises:
        WriteError: it is no file of its own, such as a link to another, or another run writes there.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise WriteError(f"{path}: scores cannot be kept there, it is no file: write to another folder")
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    file = FileIO(os.open(path, flags, 0o666), "r+")
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise WriteError(f"{path}: another run writes there: wait for its end, or write to another folder") from None
    except OSError:
        pass  # a file system without locks
    return file


def _check_own(path: Path, line: bytes, whole: int) -> None:
    """Raise if a file whose first line is no record was not begun by a journal: it is not overwritten."""
    if not whole and not line.startswith(_BEGIN[: len(line)]):
        raise WriteError(
            f"{path}: scores cannot be kept there, it is of something else: move it, or write to another folder"
        )


def _record(line: bytes) -> tuple[str, Any] | None:
    """The key and record of a line; None of one that was not finished."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
        return str(found["key"]), found["record"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
