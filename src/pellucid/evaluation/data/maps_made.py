"""Finds the maps that were made before for the cases of a data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data.made_before import ARCHIVE
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
        several = _of_several(folder)
        found = {
            case.name: path
            for case in cases
            if (path := _map_of(case, folder, last[_last(case.name)] == 1, several)) is not None
        }
        if not found:
            raise DataError(
                f"maps {method}={folder} was given; it holds no map of a case: that of {one_line(cases[0].name)} would "
                f"be {one_line(_stems(cases[0].name, False)[0])}{_ENDINGS[0]}"
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


def _of_several(folder: Path) -> set[str]:
    """The paths before ``_CLASS_explanation.npz`` of all archives in a folder and below it, which are listed once."""
    found: set[str] = set()
    for where, _, names in os.walk(folder):
        for name in names:
            begin = name.removesuffix(f"_{ARCHIVE}")
            cuts = (at for at, letter in enumerate(begin) if letter == "_") if begin != name else ()
            found.update(f"{Path(where, begin[:at])}" for at in cuts if at)
    return found


def _map_of(case: Case, folder: Path, is_alone: bool, several: Collection[str]) -> Path | None:
    root = os.path.realpath(folder)
    stems = _stems(case.name, is_alone)
    for path in (folder / f"{stem}{ending}" for stem in stems for ending in _ENDINGS):
        real = os.path.realpath(path)  # a link may lead out of the folder
        if real.startswith(root + os.sep) and Path(real).is_file():
            return path
    return next((folder / stem for stem in stems if f"{folder / stem}" in several), None)


def _stems(name: str, is_alone: bool) -> list[str]:
    """What the names of the maps of a case may begin with in a folder: without the suffix of its image, or with it.

    ``is_alone``: no other case has the same last part.
    """
    relative = PurePosixPath(name)
    relative = PurePosixPath(*relative.parts[1:]) if relative.is_absolute() else relative
    whole = [str(relative), relative.name] if is_alone else [str(relative)]
    return list(dict.fromkeys(part for one in whole for part in (_without_suffix(one), one)))


def _last(name: str) -> str:
    return _without_suffix(PurePosixPath(name).name)


def _without_suffix(name: str) -> str:
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]
