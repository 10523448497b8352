"""Send results to an archive: each file once, continuing where an interrupted run stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pellucid.errors import ImageError, TransferError
from pellucid.export.drafts import sweep
from pellucid.export.writing import write
from pellucid.io.dicom_file import is_dicom_file
from pellucid.io.refusal import digest
from pellucid.pacs.access import ServerAccess

LEDGER = ".pellucid-pushed.json"
"""The ledger's file in the folder that is sent: the digests of what each server accepted."""


@dataclass(frozen=True)
class Sent:
    """The outcome for one file: sent, skipped because it was sent before, or failed."""

    path: Path
    skipped: bool = False
    error: TransferError | None = None


def objects(folder: Path) -> list[Path]:
    """The DICOM files below a folder, sorted. What a killed run left of files that it was writing is removed.

    Files and folders whose names begin with a dot are left out, among them those that are being written.

    Raises:
        ImageError: there are none.
    """
    sweep(folder)
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    try:
        found = [path for path in paths if not _is_hidden(path.relative_to(folder)) and is_dicom_file(path)]
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror or error})") from None
    if not found:
        raise ImageError(f"{folder}: no DICOM object was found; write some with a DICOM format of --export, such as sc")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


@dataclass
class Ledger:
    """The files of a folder that a server accepted. The ledger is kept in the folder and holds digests only."""

    folder: Path
    server: str
    accepted: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, server: str) -> Ledger:
        """Read a folder's ledger; a missing or broken file is an empty ledger."""
        folder = folder.parent if folder.is_file() else folder
        kept: dict[str, list[str]] = {}
        with suppress(OSError, ValueError):
            found = json.loads((folder / LEDGER).read_text(encoding="utf-8"))
            if isinstance(found, dict) and all(isinstance(one, list) for one in found.values()):
                kept = found
        return cls(folder, server, kept)

    def has(self, file_digest: str) -> bool:
        """Whether the server accepted a file with this digest."""
        return file_digest in self.accepted.get(self._key, [])

    def add(self, file_digest: str) -> None:
        """Record that the server accepted a file with this digest."""
        self.accepted.setdefault(self._key, []).append(file_digest)
        write(self.folder, {LEDGER: json.dumps(self.accepted, indent=1).encode()}, overwrite=True)

    @property
    def _key(self) -> str:
        return hashlib.sha256(self.server.encode()).hexdigest()[:16]


def push(paths: Sequence[Path], store: Callable[[Path], None], ledger: Ledger, access: ServerAccess) -> Iterator[Sent]:
    """Send files one after the other with ``store``, and yield each outcome; what was sent before is skipped.

    Where a server stays busy or unreachable after all retries, nothing more is sent.
    """
    for path in paths:
        file_digest = digest(path)
        if ledger.has(file_digest):
            yield Sent(path, skipped=True)
            continue
        try:
            access.retried(partial(store, path))
        except TransferError as error:
            yield Sent(path, error=error)
            if error.retry:
                return  # the server is unreachable for the other files as well
        else:
            ledger.add(file_digest)
            yield Sent(path)
