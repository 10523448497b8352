"""Finds the maps that were made before for the cases of a data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.io import SUFFIXES
from pellucid.io.refusal import one_line

_ENDINGS = (".npy", ".npz")


def with_maps(data: Data, folders: Mapping[str, Path]) -> Data:
    """The data set with the files of its maps, by method: ``folder/a/b.npy`` or ``.npz`` of the case ``a/b.png``.

    Raises:
        DataError: a method has none.
    """
    cases = list(data.cases)
    notes = list(data.notes)
    for method, folder in folders.items():
        found = {case.name: path for case in cases if (path := _map_of(case, folder)) is not None}
        if not found:
            raise DataError(
                f"maps {method}={folder} was given; it holds no map of a case: that of {one_line(cases[0].name)} would "
                f"be {one_line(next(_names(cases[0].name)))}"
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


def _map_of(case: Case, folder: Path) -> Path | None:
    root = os.path.realpath(folder)
    for name in _names(case.name):
        path = folder / name
        real = os.path.realpath(path)  # a link may lead out of the folder
        if real.startswith(root + os.sep) and Path(real).is_file():
            return path
    return None


def _names(name: str) -> Iterator[str]:
    """The names that the map of a case may have in its folder: without the suffix of its image, or with it."""
    relative = PurePosixPath(name)
    relative = PurePosixPath(*relative.parts[1:]) if relative.is_absolute() else relative
    suffix = next((suffix for suffix in SUFFIXES if relative.name.lower().endswith(suffix)), "")
    stem = str(relative)[: len(str(relative)) - len(suffix)]
    yield from (f"{begin}{ending}" for begin in dict.fromkeys((stem, str(relative))) for ending in _ENDINGS)
