"""Writes several files into a folder as one unit: either all of them are there afterwards, or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pellucid.errors import OutputExistsError, WriteError


def check_writable(folder: Path) -> None:
    """Check that a folder exists or can be made, before any work is done. Nothing is created.

    Raises:
        WriteError: a file is in the way, or the permission to write is missing.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise WriteError(f"{folder}: cannot be a folder, {existing} is a file: choose another --output")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise WriteError(f"{folder}: cannot be written to, {existing} does not allow it: choose another --output")


def write(folder: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write files (contents by name) into a folder, which is created. No partial file is ever visible.

    Raises:
        OutputExistsError: a file is already there and ``overwrite`` is false; nothing is written.
        WriteError: the system refuses to write.
    """
    existing = [name for name in files if os.path.lexists(folder / name)]
    if existing and not overwrite:
        raise OutputExistsError(f"{folder / existing[0]} is already there: remove it, or replace it with --overwrite")
    created: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The name of the temporary folder is random, so that no prepared link can redirect a write.
        with TemporaryDirectory(prefix=".part-", dir=folder) as drafts:
            for index, content in enumerate(files.values()):
                (Path(drafts) / str(index)).write_bytes(content)
            for index, name in enumerate(files):
                # Recorded before the move: an interrupt may be raised just after it.
                created += [] if name in existing else [folder / name]
                (Path(drafts) / str(index)).replace(folder / name)
            created = []
    except OSError as error:
        cure = "give the file a shorter name" if error.errno == errno.ENAMETOOLONG else "choose another --output"
        raise WriteError(f"{folder}: cannot be written to ({error.strerror or error}): {cure}") from None
    finally:
        # After an error or an interrupt, files that were already moved are removed again.
        for path in created:
            with suppress(OSError):
                path.unlink(missing_ok=True)
