"""Writing several files as one: all of them come to be, or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

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
    drafts = {folder / f".{name}.{os.getpid()}.part": folder / name for name in files}
    placed: list[Path] = []
    try:
        there = [final for final in drafts.values() if final.exists()]
        if there and not overwrite:
            raise OutputExistsError(f"{there[0]} is already there: remove it, or replace it with --overwrite")
        folder.mkdir(parents=True, exist_ok=True)
        for draft, content in zip(drafts, files.values(), strict=True):
            draft.write_bytes(content)
        for draft, final in drafts.items():
            draft.replace(final)
            placed += [] if final in there else [final]
        placed = []
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written to ({error.strerror or error}): choose another --output"
        ) from None
    finally:
        # Where something came in between, also an interrupt, what was already put in place goes again.
        for path in (*drafts, *placed):
            with suppress(OSError):
                path.unlink(missing_ok=True)
