"""The interface of a reader: the formats and file name endings it stands for, and how it reads a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pellucid.core.image import Image
from pellucid.io.selection import Select

WindowLike = str | tuple[float, float] | None
"""A window that a user asks for: (centre, width), "centre,width", a preset of CT, or None for the file's own."""


@dataclass(frozen=True)
class Reader:
    """Reads files of some formats.

    ``formats`` are their names in messages; ``endings`` the lower-case file name endings that a search through a folder
    takes. ``accepts`` decides by a file's path and its first 132 bytes; ``read`` takes the path, the window, the number
    of the frame (from 1, or None for all) and what was selected.
    """

    formats: tuple[str, ...]
    endings: tuple[str, ...]
    accepts: Callable[[Path, bytes], bool]
    read: Callable[[Path, WindowLike, int | None, Select | None], Image]
