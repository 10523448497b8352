"""The ledger of a journal at one destination: which entries it has accepted, and the ids that it gave to runs.

It lies beside the journal, and is locked while a process sends. Lines are only appended, each after its entry was
accepted: what was accepted just before a crash is sent again, which a ``Connection`` must allow.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from pellucid.tracking.destination import Destination


class Ledger:
    """What a destination has accepted of a journal. ``BlockingIOError``: another process or thread is sending it."""

    def __init__(self, folder: Path, destination: Destination) -> None:
        self.accepted: set[int] = set()
        self.refused: dict[int, str] = {}
        self.ids: dict[str, str] = {}
        path = ledger_path(folder, destination)
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._lock.acquire()
            self._read()
        except BaseException as error:
            self._close()
            if isinstance(error, Timeout):
                raise BlockingIOError(f"{path}: another process or thread is sending") from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        os.close(self._file)
        self._lock.release()

    def has(self, number: int) -> bool:
        """Whether an entry is done: accepted, or refused for good."""
        return number in self.accepted or number in self.refused

    def accept(self, number: int) -> None:
        """Record that an entry was accepted."""
        self._append({"accepted": number})

    def refuse(self, number: int, reason: str) -> None:
        """Record that an entry was refused for good, and why."""
        self._append({"refused": number, "reason": reason})

    def name(self, run: str, run_id: str) -> None:
        """Record the id that a run has at the destination."""
        self._append({"run": run, "id": run_id})

    def _append(self, line: Mapping[str, Any]) -> None:
        self._take(line)
        os.write(self._file, f"{json.dumps(line)}\n".encode())

    def _take(self, line: Mapping[str, Any]) -> None:
        if "accepted" in line:
            self.accepted.add(int(line["accepted"]))
        elif "refused" in line:
            self.refused[int(line["refused"])] = str(line["reason"])
        else:
            self.ids[str(line["run"])] = str(line["id"])

    def _read(self) -> None:
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            content = file.read()
        for line in content.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError):  # the last line of a process that was killed
                continue
        if content and not content.endswith(b"\n"):
            os.write(self._file, b"\n")


def ledger_path(folder: Path, destination: Destination) -> Path:
    """The ledger's file: one for each destination, told apart by what is needed to reach it."""
    facts = json.dumps([destination.name, sorted(destination.facts().items())])
    return folder / f"sent-{destination.name}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}.jsonl"
