"""Finds the images that an annotation file names: only below the folder that the user named."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from pellucid.errors import DataError
from pellucid.io import is_image_file

MISSING = "its image is missing"
OUTSIDE = "its path leads out of the folder of the images"
SEVERAL = "several images have its name"
_MAX_FILES = 2**20


def below(root: Path, *candidates: str) -> Path:
    """The first of several paths, relative to a folder, at which there is a file.

    Raises:
        DataError: there is none; or a path is absolute or leads out of the folder, also by a link.
    """
    home = os.path.realpath(root)
    for text in candidates:
        if _within(home, text).is_file():
            return root / text.replace("\\", "/")
    raise DataError(MISSING)


def _within(home: str, text: str) -> Path:
    """A path without links. ``DataError``: it leads out of the folder ``home``, or no file can have it."""
    if not text or "\0" in text:
        raise DataError(MISSING)
    found = os.path.realpath(Path(home, text.replace("\\", "/")))  # an absolute path replaces the folder
    if not Path(found).is_relative_to(home):
        raise DataError(OUTSIDE)
    return Path(found)


def images_by_name(root: Path, names: Iterable[str]) -> Mapping[str, list[Path]]:
    """The images below a folder whose name, without its endings, is one of ``names``: data sets split into folders.

    Links are not followed. At most 2²⁰ files are looked at.
    """
    wanted: dict[str, list[Path]] = {name: [] for name in names}
    for path in islice(_files(root), _MAX_FILES):
        for name in dict.fromkeys((path.name, path.stem)):
            if name in wanted and is_image_file(path):
                wanted[name].append(path)
    return wanted


def _files(root: Path) -> Iterable[Path]:
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for name in sorted(names) if not (path := Path(where, name)).is_symlink())


def only(paths: list[Path]) -> Path:
    """The one image of a name. ``DataError``: there is none, or there are several."""
    if len(paths) != 1:
        raise DataError(MISSING if not paths else SEVERAL, f"{len(paths)} files" if paths else "")
    return paths[0]
