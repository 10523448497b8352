"""What every reader shares: the bound on a picture's size, a file's digest, and how it is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pellucid.errors import ImageError

MAX_PIXELS = 2**27
"""A picture of more pixels is refused from its header: 134 million, some 11,585 × 11,585."""

_LONGEST = 240


def one_line(text: object) -> str:
    """``text`` without line breaks, cut where it rambles."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def refused(path: str | os.PathLike[str], reason: object) -> ImageError:
    """Make the error, in one line, that says which file cannot be read and why."""
    name = " ".join(os.fspath(path).splitlines())
    return ImageError(f"cannot read {name}: {one_line(reason)}")


def check_size(path: str | os.PathLike[str], height: int, width: int, depth: int = 1) -> None:
    """Refuse a picture without pixels, and one of more than MAX_PIXELS, before anything is decoded.

    Raises:
        ImageError: the size is not one that is read.
    """
    if min(height, width, depth) < 1:
        raise refused(path, f"it says that it is {height} × {width} pixels; a picture has at least one")
    if height * width * depth > MAX_PIXELS:
        size = f"{depth} × {height} × {width}" if depth > 1 else f"{height} × {width}"
        raise refused(path, f"it says that it is {size} pixels; at most {MAX_PIXELS:,} are read: make it smaller")


def digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # it was there when its pixels were read
        raise refused(path, error.strerror or error) from error
