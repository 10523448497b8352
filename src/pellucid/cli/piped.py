"""An image on standard input, which ``pellucid explain -`` reads, as a file in a temporary folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from pellucid.errors import ImageError, OptionError, WriteError

DASH = "-"
NAME = "stdin"
"""What results and messages call the image."""
MAX_BYTES = 2**30
"""The most bytes of it, 1 GiB: they are kept on the temporary disk."""
_CHUNK = 2**20


def is_piped(paths: list[str]) -> bool:
    """Whether standard input is among the inputs. ``OptionError``: beside a server, or nothing is piped."""
    if DASH not in paths:
        return False
    servers = [path for path in paths if "://" in path]
    if servers:
        raise OptionError(f"- and {servers[0]} were given; explain standard input in a run of its own")
    if sys.stdin is None or sys.stdin.isatty():
        raise OptionError(
            "- was given, which is standard input; nothing is piped into it: write cat scan.png | pellucid explain - …"
            ", or give the file's path"
        )
    return True


def kept(folder: Path) -> Path:
    """Write standard input into a folder, up to ``MAX_BYTES``.

    Raises:
        ImageError: it is larger, or cannot be read.
        WriteError: there is no room for it.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            _copy(sys.stdin.buffer, file)
    except OSError as error:
        raise WriteError(
            f"standard input cannot be kept in the temporary folder ({error.strerror or error}): set TMPDIR to one "
            "with room, or give the file's path"
        ) from None
    return path


def _copy(source: BinaryIO, file: BinaryIO) -> None:
    count = 0
    while chunk := source.read(min(_CHUNK, MAX_BYTES + 1 - count)):
        count += len(chunk)
        if count > MAX_BYTES:
            raise ImageError(f"cannot read {NAME}: it has more than {MAX_BYTES:,} bytes: give the file's path")
        file.write(chunk)
