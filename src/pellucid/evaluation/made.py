"""Finds the maps that were made before for the cases of a data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.made_before import ARCHIVE, of_classes
from pellucid.io import SUFFIXES
from pellucid.io.refusal import one_line

_ENDINGS = (".npy", ".npz", f"_{ARCHIVE}")


def with_maps(data: Data, folders: Mapping[str, Path]) -> Data:
    """The data set with the files of its maps, by method.

    That of the case ``a/b.png`` is ``folder/a/b.npy`` or ``.npz``, or what ``pellucid explain --export npz`` writes:
    ``folder/a/b_explanation.npz``, or one for each class, for which ``folder/a/b`` stands. Where the folder does not
    have the case's subfolders, ``folder/b…`` is it, if no other case is called b.

    Raises:
        DataError: a method has none.
    """
    cases = list(data.cases)
    notes = list(data.notes)
    last = Counter(_last(case.name) for case in cases)
    for method, folder in folders.items():
        found = {
            case.name: path
            for case in cases
            if (path := _map_of(case, folder, last[_last(case.name)] == 1)) is not None
        }
        if not found:
            raise DataError(
                f"maps {method}={folder} was given; it holds no map of a case: that of {one_line(cases[0].name)} would "
                f"be {one_line(next(_names(cases[0].name, False)))}"
            )
        if len(found) < len(cases):
            missing = next(case.name for case in cases if case.name not in found)
            notes.append(
                f"{len(cases) - len(found)} of {len(cases)} cases have no map of {method}, such as {one_line(missing)}."
            )
        cases = [
            replace(case, maps={**case.maps, method: found[case.name]}) if case.name in found else case
            for case in cases
        ]
    return replace(data, cases=cases, notes=notes)


def _map_of(case: Case, folder: Path, is_alone: bool) -> Path | None:
    root = os.path.realpath(folder)
    for name in _names(case.name, is_alone):
        path = folder / name
        real = os.path.realpath(path)  # a link may lead out of the folder
        if real.startswith(root + os.sep) and (Path(real).is_file() or next(of_classes(path), None) is not None):
            return path
    return None


def _names(name: str, is_alone: bool) -> Iterator[str]:
    """The names that the map of a case may have in its folder: without the suffix of its image, or with it.

    The last ones stand for the archives of several classes. ``is_alone``: no other case has the same last part.
    """
    relative = PurePosixPath(name)
    relative = PurePosixPath(*relative.parts[1:]) if relative.is_absolute() else relative
    whole = [str(relative), relative.name] if is_alone else [str(relative)]
    stems = list(dict.fromkeys(part for one in whole for part in (_without_suffix(one), one)))
    yield from (f"{stem}{ending}" for stem in stems for ending in _ENDINGS)
    yield from stems


def _last(name: str) -> str:
    return _without_suffix(PurePosixPath(name).name)


def _without_suffix(name: str) -> str:
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]
