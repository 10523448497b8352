"""Finds the images that an annotation file names: only below the folder that the user named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

from pellucid.errors import DataError
from pellucid.evaluation.case import Case
from pellucid.evaluation.data.annotated import Gathering
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.io import is_image_file

MISSING = "its image is missing"
SEVERAL = "several images have its name"
_MAX_FILES = 2**20


def located(root: Path, candidates: Iterable[str]) -> Path:
    """The first of several paths, relative to a folder, at which there is an image.

    Raises:
        DataError: there is none; or it is outside the folder.
    """
    folders, found = Folders.of([root]), DataError(MISSING)
    for text in candidates:
        try:
            return folders.found(text, "image")[0]
        except DataError as error:
            found = error
    raise found


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


def cases_below(
    root: Path, names: Iterable[str], gathering: Gathering, patient_of: Callable[[str], str | None] = lambda _: None
) -> list[Case]:
    """The cases of images that are found by name below a folder, with what was gathered of them.

    One that is missing, is there several times, or has an annotation that cannot be read is excluded by ``gathering``.
    """
    each = images_by_name(root, names).items()
    cases = []
    for name, paths in each:
        if len(paths) != 1:
            reason, detail = (SEVERAL, f"{len(paths)} files") if paths else (MISSING, "")
            gathering.refuse(name, DataError(reason, detail))
        if name not in gathering.wrong:
            cases.append(gathering.case(name, ImageFile(paths[0]), patient_of(name)))
    return cases
