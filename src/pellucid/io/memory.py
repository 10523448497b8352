"""The memory that an image's pixels, values and headers may take: checked before any of it is allocated."""

from __future__ import annotations

import math
import os
from pathlib import Path

from pellucid.errors import OptionError
from pellucid.io.refusal import refused

VARIABLE = "PELLUCID_MAX_GIB"
"""The environment variable that sets the limit, in GiB."""
_DEFAULT = 8.0
"""GiB: a CT of 4,096 slices of 512 × 512."""
_BYTES = 8
"""Bytes that a voxel of one channel takes: its pixel and its value, both float32."""
_ELEMENT = 2**10
"""Bytes that an element of a frame's header takes at most, where the header is copied for a result."""


def limit() -> float:
    """The limit in GiB.

    Raises:
        OptionError: the environment variable is no number above 0.
    """
    text = os.environ.get(VARIABLE) or str(_DEFAULT)
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise OptionError(f"{VARIABLE} is {text!r}; write a number of GiB above 0, such as {_DEFAULT:g}")
    return gib


def check_memory(path: Path, *size: int) -> None:
    """Check that an image of this size (channels, slices, rows, columns) takes no more memory than the limit.

    Raises:
        ImageError: it would; the message says what it takes and how to raise the limit.
        OptionError: the environment variable is no number above 0.
    """
    _check(path, f"its {' × '.join(map(str, size))} values", math.prod(size) * _BYTES)


def check_headers(path: Path, frames: int, elements: int) -> None:
    """Check that a header of so many elements for each frame takes no more memory than the limit.

    Raises:
        ImageError: it would; the message says what it takes and how to raise the limit.
        OptionError: the environment variable is no number above 0.
    """
    _check(path, f"the headers of its {frames:,} frames, {elements:,} elements each,", frames * elements * _ELEMENT)


def _check(path: Path, what: str, size: int) -> None:
    needed, allowed = size / 2**30, limit()
    if needed > allowed:
        enough = math.ceil(needed * 10) / 10
        raise refused(
            path,
            f"{what} take {needed:.1f} GiB; at most {allowed:g} are used: "
            f"set the environment variable {VARIABLE}={enough:g} if the machine has them",
        )
