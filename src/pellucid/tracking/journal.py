"""The journal of a run: what is logged is written to the local disk first, and read from there to be sent.

A folder holds ``journal.jsonl``, a line for each entry, and the images and files that the entries name. Lines are only
appended; of a process that was killed, the last line may be incomplete, and is left out.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from pellucid.errors import DataError
from pellucid.export.drafts import is_name
from pellucid.tracking.contents import Content, LoggedFile, LoggedImage, content_of, facts

JOURNAL = "journal.jsonl"
FORMAT = "pellucid-run-1"
_MAX_LINE = 2**24
"""The most bytes of an entry; more is no entry of ours."""


@dataclass(frozen=True)
class Entry:
    """A line of a journal: its number, from 1, the run that it belongs to, when it was logged (ms), and its content."""

    number: int
    run: str
    time: int
    content: Content

    def has_file(self, folder: Path) -> bool:
        """Whether the file that it names is in the journal's folder; an entry that names none has it."""
        name = self.content.file if isinstance(self.content, LoggedImage | LoggedFile) else None
        return name is None or ((folder / name).is_file() and not (folder / name).is_symlink())


class Journal:
    """A new journal in a folder of its own, which is created. ``OSError``: it cannot be written.

    ``header`` is kept in its first line: where the entries are to be sent.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._number = 0
        self._lock = Lock()
        self._file = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._append({"format": FORMAT} | header)

    def add(self, run: str, make: Callable[[int], Content]) -> None:
        """Append an entry; ``make`` is given its number, writes the entry's file if it has one, returns its content."""
        with self._lock:  # held by threads that log, never by one that sends
            content = make(self._number + 1)
            self._append({"number": self._number + 1, "run": run, "time": time.time_ns() // 10**6} | facts(content))
            self._number += 1

    def close(self) -> None:
        """Close the file; further entries are errors."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _append(self, line: dict[str, Any]) -> None:
        data = memoryview(f"{json.dumps(line)}\n".encode())
        while data:
            data = data[os.write(self._file, data) :]


def header_of(folder: Path) -> dict[str, Any]:
    """The first line of a folder's journal. ``DataError``: there is none, or it is broken."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            found = json.loads(file.readline(_MAX_LINE))
        if found["format"] != FORMAT:
            raise ValueError(found["format"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{folder / JOURNAL}: no journal of a run ({type(error).__name__}): give another folder"
        ) from None
    return dict(found)


class Reader:
    """Reads a journal's entries in order, while others are appended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._offset = 0

    def entries(self) -> Iterator[Entry]:
        """The entries since the last one that was read whole; the one after which it is left is read again."""
        with (self.folder / JOURNAL).open("rb") as file:
            file.seek(self._offset)
            while (line := file.readline(_MAX_LINE)).endswith(b"\n"):
                entry = _entry(line)
                if entry is not None:
                    yield entry
                self._offset += len(line)


def _entry(line: bytes) -> Entry | None:
    """The entry of a line; None of the first line, and of one that holds none, or names a file elsewhere."""
    try:
        found = json.loads(line)
        entry = Entry(int(found["number"]), str(found["run"]), int(found["time"]), content_of(found))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(entry.content, LoggedImage | LoggedFile) and not is_name(entry.content.file):
        return None
    return entry
