"""Sending results: each once, again where a server is busy, and from where it ended where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from pellucid.errors import ImageError, TransferError
from pellucid.export.writing import write
from pellucid.io.dicom import says_dicom
from pellucid.io.refusal import digest

Answer = TypeVar("Answer")
LEDGER = ".pellucid-pushed.json"
"""In the folder that is sent: what was taken by which server, by digests."""


@dataclass(frozen=True)
class Sent:
    """What became of one file."""

    path: Path
    skipped: bool = False
    error: TransferError | None = None


def objects(folder: Path) -> list[Path]:
    """The DICOM files below a folder, in order.

    Raises:
        ImageError: there are none.
    """
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    try:
        found = [path for path in paths if not path.name.startswith(".") and says_dicom(path)]
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror or error})") from None
    if not found:
        raise ImageError(f"{folder}: no DICOM object was found there: write some with --export sc,seg,pm,sr")
    return found


@dataclass
class Ledger:
    """What a server has taken of a folder's files; kept in the folder, without a word of what they hold."""

    folder: Path
    server: str
    taken: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, server: str) -> Ledger:
        """What was kept; a file that is broken is as good as none."""
        folder = folder.parent if folder.is_file() else folder
        kept: dict[str, list[str]] = {}
        with suppress(OSError, ValueError):
            found = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
            if isinstance(found, dict) and all(isinstance(one, list) for one in found.values()):
                kept = found
        return cls(folder, server, kept)

    def has(self, mark: str) -> bool:
        """Whether the server has taken a file of this digest."""
        return mark in self.taken.get(self._name, [])

    def add(self, mark: str) -> None:
        """Note that it has."""
        self.taken.setdefault(self._name, []).append(mark)
        write(self.folder, {LEDGER: json.dumps(self.taken, indent=1).encode()}, overwrite=True)

    @property
    def _name(self) -> str:
        return hashlib.sha256(self.server.encode()).hexdigest()[:16]


def pushed(
    paths: Sequence[Path], store: Callable[[Path], None], ledger: Ledger, retries: int, wait: float = 1.0
) -> Iterator[Sent]:
    """Send files one after the other; what was sent before is left out.

    Where a server is busy or cannot be reached it is asked ``retries`` times more, after ``wait`` seconds, twice that,
    and so on; then no more is sent.
    """
    for path in paths:
        mark = digest(path)
        if ledger.has(mark):
            yield Sent(path, skipped=True)
            continue
        try:
            patiently(partial(store, path), retries, wait)
        except TransferError as error:
            yield Sent(path, error=error)
            if error.retry:
                return  # it is away
        else:
            ledger.add(mark)
            yield Sent(path)


def patiently(ask: Callable[[], Answer], retries: int, wait: float = 1.0) -> Answer:
    """Ask, and again where waiting may help."""
    for attempt in range(retries):
        try:
            return ask()
        except TransferError as error:
            if not error.retry:
                raise
        time.sleep(wait * 2**attempt)
    return ask()
