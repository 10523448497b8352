"""Shared by all readers: the size limits, the digest of a file, and the error for a file that cannot be read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import ImageError

MAX_BYTES = 2**33
"""Maximum number of bytes of a file, 8 GiB: all of them are read, for the digest."""

_MAX_ASPECT = 200
_MAX_LENGTH = 240


def one_line(text: object) -> str:
    """``text`` without line breaks, cut to 240 characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 1]}…"


def refused(path: str | os.PathLike[str], reason: object) -> ImageError:
    """The error, in one line, that names the file that cannot be read and the reason."""
    name = " ".join(os.fspath(path).splitlines())
    return ImageError(f"cannot read {name}: {one_line(reason)}")


def check_size(path: str | os.PathLike[str], height: int, width: int, depth: int = 1) -> None:
    """Check, before anything is decoded, that an image has from one to MAX_PIXELS pixels, and is no mere line.

    Resized to a network's input, whose shorter side is stated, an image of 1 × 100,000 pixels would need terabytes.

    Raises:
        ImageError: it has not.
    """
    if min(height, width, depth) < 1:
        raise refused(path, f"its header states {height} × {width} pixels; an image has at least one")
    if height * width * depth > MAX_PIXELS:
        size = f"{depth} × {height} × {width}" if depth > 1 else f"{height} × {width}"
        raise refused(path, f"its header states {size} pixels; at most {MAX_PIXELS:,} are read: make it smaller")
    short, long = sorted((height, width))
    if long > _MAX_ASPECT * short:
        raise refused(
            path,
            f"its header states {height} × {width} pixels; one side may have at most {_MAX_ASPECT} times the other's: "
            "crop it",
        )


def broken(error: BaseException) -> str:
    """The reason of a refusal for an error of any kind that a library raised; its text may quote the patient's data."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is: make it smaller"
    return f"it is broken, or of a kind that is not supported ({type(error).__name__})"


def digest(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:  # the file was removed after its pixels were read
        raise refused(path, error.strerror or error) from error
