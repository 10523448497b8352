"""Writes several files into a folder as one unit: either all of them are there afterwards, or none."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from pellucid.errors import DiskFullError, OutputExistsError, WriteError
from pellucid.export.drafts import drafts_in, held, publish

_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_writable(folder: Path) -> None:
    """Check that a folder exists or can be made, before any work is done. Nothing is created.

    Raises:
        WriteError: a file is in the way, or the permission to write is missing.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise WriteError(f"{folder}: cannot be a folder, {existing} is a file: write to another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise WriteError(f"{folder}: cannot be written to, {existing} does not allow it: write to another folder")


def write(
    folder: Path,
    files: Mapping[str, bytes],
    overwrite: bool,
    earlier: Callable[[], Collection[str]] = frozenset,
) -> None:
    """Write files (contents by name) into a folder, which is created. No partial file is ever visible.

    ``earlier`` returns the names of files in the folder that these files replace, whether or not they have the same
    names. It is called when no other process can write there any more, and may raise.

    Raises:
        OutputExistsError: another file is already there and ``overwrite`` is false; nothing is written.
        DiskFullError: the disk, or the user's share of it, is full.
        WriteError: the system refuses to write for another reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with drafts_in(folder) as drafts:
            for index, content in enumerate(files.values()):
                (drafts / str(index)).write_bytes(content)
            with held(folder):
                replaced = set(earlier())
                existing = [name for name in files if name not in replaced and os.path.lexists(folder / name)]
                if existing and not overwrite:
                    raise OutputExistsError(
                        f"{folder / existing[0]} is already there: remove it, or replace it with overwrite=True"
                    )
                publish(drafts, list(files), sorted(replaced | set(existing)))
    except OSError as error:
        raise write_error(folder, error) from None


def write_error(folder: Path, error: OSError) -> WriteError:
    """The error of a folder in which the system refuses to write, with what to do."""
    reason = error.strerror or error
    if error.errno in _FULL:
        return DiskFullError(
            f"{folder}: cannot be written to ({reason}): make room and run the same command again, which goes on from "
            "here, or write to another folder"
        )
    cure = "give the file a shorter name" if error.errno == errno.ENAMETOOLONG else "write to another folder"
    return WriteError(f"{folder}: cannot be written to ({reason}): {cure}")
