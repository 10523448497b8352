"""Writing several files as one: all of them come to be, or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pellucid.errors import OutputExistsError, WriteError


def check_writable(folder: Path) -> None:
    """Raise ``WriteError`` where a folder cannot be, before any work is done; nothing is made yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise WriteError(f"{folder}: cannot be a folder, {there} is a file: choose another --output")
    if not os.access(there, os.W_OK | os.X_OK):
        raise WriteError(f"{folder}: cannot be written to, {there} does not allow it: choose another --output")


def write(folder: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write files into a folder, which is made. Nothing half-written is left, and nothing replaced unasked.

    ``OutputExistsError`` names what is already there; ``WriteError`` what the system said.
    """
    there = [name for name in files if os.path.lexists(folder / name)]
    if there and not overwrite:
        raise OutputExistsError(f"{folder / there[0]} is already there: remove it, or replace it with --overwrite")
    placed: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder of a name that nobody can foretell: no link can be waiting there.
        with TemporaryDirectory(prefix=".part-", dir=folder) as drafts:
            for index, content in enumerate(files.values()):
                (Path(drafts) / str(index)).write_bytes(content)
            for index, name in enumerate(files):
                # Noted before it is done: an interrupt is raised when the system's call returns.
                placed += [] if name in there else [folder / name]
                (Path(drafts) / str(index)).replace(folder / name)
            placed = []
    except OSError as error:
        cure = "give the file a shorter name" if error.errno == errno.ENAMETOOLONG else "choose another --output"
        raise WriteError(f"{folder}: cannot be written to ({error.strerror or error}): {cure}") from None
    finally:
        # Where something came in between, also an interrupt, what was already put in place goes again.
        for path in placed:
            with suppress(OSError):
                path.unlink(missing_ok=True)
