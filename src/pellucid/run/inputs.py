"""``Input``: a file to explain, or files that are one image; its digest, and how it is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePath

from pellucid.core.image import Image
from pellucid.errors import ImageError
from pellucid.io import read
from pellucid.io.refusal import MAX_BYTES, digest
from pellucid.io.selection import Select
from pellucid.io.series import read_slices
from pellucid.run.channels import channel_paths, read_channels


@dataclass(frozen=True)
class Input:
    """A file to explain.

    ``stem`` is relative to the output folder: the subfolder of the results, and the beginning of their file names.
    ``slices`` are the files of a volume, ``channels`` the names of files in a study, ``members`` the images of a
    sequence; its ``path`` is their folder. ``links`` are further paths to the same file or files.
    """

    path: Path
    stem: PurePath
    slices: tuple[Path, ...] = ()
    channels: tuple[str, ...] = ()
    members: tuple[Input, ...] = ()
    links: tuple[Path, ...] = ()

    @property
    def is_single(self) -> bool:
        """Whether it is one file."""
        return not (self.slices or self.channels or self.members)


def input_digest(file: Input) -> str | None:
    """A SHA-256 of the contents of an input's files and of what they are to each other; of one file, the file's own.

    None where a file cannot be read, which reading it will report.
    """
    if file.is_single:
        return _digest(file.path)
    if file.members:
        parts = [(member.path.name, _digest(member.path)) for member in file.members]
    elif file.slices:
        parts = [("", _digest(path)) for path in file.slices]
    else:
        parts = [(name, _channel_digest(path)) for name, path in channel_paths(file.path, file.channels)]
    if any(digest is None for _, digest in parts):
        return None
    kind = "sequence" if file.members else "volume" if file.slices else "channels"
    return hashlib.sha256(json.dumps([kind, parts]).encode()).hexdigest()


def _digest(path: Path) -> str | None:
    try:
        is_readable = path.is_file() and path.stat().st_size <= MAX_BYTES  # a pipe would wait for its writer
        return digest(path) if is_readable else None
    except (OSError, ImageError):
        return None


def _channel_digest(path: Path) -> str | None:
    """The digest of a channel's file, or of all files in its folder."""
    if not path.is_dir():
        return _digest(path)
    found = [_digest(one) for one in sorted(path.iterdir()) if one.is_file() and not one.name.startswith(".")]
    return None if None in found else hashlib.sha256(json.dumps(found).encode()).hexdigest()


def open_input(file: Input, window: str | None = None, frame: int | None = None, select: Select | None = None) -> Image:
    """Read the image or volume of an input; safe in threads, as it leaves Python's warning filters alone."""
    if file.channels:
        return read_channels(file.path, file.channels, window, frame, select)
    if file.slices:
        return read_slices(file.path, file.slices, window, select)
    return read(file.path, window, frame, select)
