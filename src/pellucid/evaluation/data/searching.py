"""Searches a folder for image files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pellucid.core.ordering import by_number
from pellucid.errors import DataError
from pellucid.evaluation.case import Exclusion
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.layout import Found
from pellucid.export.earlier import results_among
from pellucid.io import SUFFIXES, is_image_file
from pellucid.io.refusal import one_line

MOST_FILES = 2**20
_NOT_DATA = "__MACOSX"
_WRITTEN = re.compile(r"examples/\d\d-\d\d+\.png|figures/(primary|roc|calibration|overlap)\.png")
_SCORES = ".scores.jsonl"


def found_in(root: Path | None, folders: Folders, excluded: list[Exclusion]) -> list[Found]:
    """The image files in a folder and those below it; links that lead out of the data set are excluded."""
    if root is None:
        return []
    inside, found = Folders((root,), folders.allowed), []
    walked = list(_walked(root))
    earlier = {*results_among(walked), *_of_evaluations(walked)}
    names = (path.relative_to(root).as_posix() for path in walked if path not in earlier and _is_image(path))
    for name in sorted(names, key=by_number):
        try:
            found.append(Found.of(inside.found(_checked(name), "file")[0], name))
        except DataError as error:
            excluded.append(Exclusion(_readable(name), str(error), error.detail))
    return found


def _checked(name: str) -> str:
    """A name that results can be written under."""
    if _readable(name) != name:
        raise DataError("its name is no text in UTF-8")
    return name


def _readable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _walked(root: Path) -> Iterator[Path]:
    count = 0
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != _NOT_DATA)
        for name in names:
            count += 1
            if count > MOST_FILES:
                raise DataError(f"data {one_line(root)} was given; it holds more than {MOST_FILES:,} files: divide it")
            if not name.startswith("."):
                yield Path(where, name)


def _of_evaluations(walked: Sequence[Path]) -> Iterator[Path]:
    """The images that evaluations wrote, whose folders hold their scores: they are no data."""
    folders = {path.parent.parent for path in walked if _WRITTEN.fullmatch(f"{path.parent.name}/{path.name}")}
    begun = {folder for folder in folders if (folder / _SCORES).is_file()}
    for path in walked:
        if path.parent.parent in begun and _WRITTEN.fullmatch(f"{path.parent.name}/{path.name}"):
            yield path


def _is_image(path: Path) -> bool:
    """Whether a file's name is that of an image; without a suffix that says what it is, its first bytes decide."""
    suffix = path.suffix[1:]
    return path.name.lower().endswith(SUFFIXES) or ((not suffix or suffix.isdigit()) and is_image_file(path))
