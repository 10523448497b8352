"""Writing several files as one: all of them come to be, or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pellucid.errors import OutputExistsError, WriteError


def write(folder: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write files into a folder, which is made. Nothing half-written is left, and nothing replaced unasked.

    ``OutputExistsError`` names what is already there; ``WriteError`` what the system said.
    """
    there = [name for name in files if (folder / name).exists()]
    if there and not overwrite:
        raise OutputExistsError(f"{folder / there[0]} is already there: remove it, or replace it with --overwrite")
    drafts = {folder / f".{name}.{os.getpid()}.part": folder / name for name in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for draft, content in zip(drafts, files.values(), strict=True):
            draft.write_bytes(content)
        for draft, final in drafts.items():
            draft.replace(final)
    except OSError as error:
        raise WriteError(
            f"{folder}: cannot be written to ({error.strerror or error}): choose another --output"
        ) from None
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
