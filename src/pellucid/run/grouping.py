"""Inputs that belong together: the files of a series, of a volume and of a sequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pellucid.core.ordering import by_number
from pellucid.io.series import no_series, of_series, series_of
from pellucid.run.inputs import Input
from pellucid.run.stems import folder_name, key_of


def in_series(files: Sequence[Input], series: str) -> list[Input]:
    """The inputs that are DICOM files of one series, by its SeriesInstanceUID, or by its number in each folder.

    Raises:
        ImageError: none is, or several series in a folder have the number.
    """
    groups: dict[Path, list[Input]] = {}
    for file in files:
        groups.setdefault(file.path.parent, []).append(file)
    kept = {path for folder, group in groups.items() for path in of_series(folder, [one.path for one in group], series)}
    if not kept:
        raise no_series(files[0].path.parent, [file.path for file in files])
    return [file for file in files if file.path in kept]


def as_volumes(files: Sequence[Input]) -> list[Input]:
    """The same inputs, with the DICOM slices of each folder and series as one volume, named after their folder.

    Studies stay as they are.
    """
    groups: dict[tuple[Path, str], list[Input]] = {}
    for file in files:
        series = series_of(file.path) if file.path.is_file() else None  # a pipe would wait for its writer
        groups.setdefault((file.path.parent, series or f"{file.path}"), []).append(file)
    volumes = [_volume(group) if len(group) > 1 else group[0] for group in groups.values()]
    counts = Counter(key_of(file.stem) for file in volumes)
    numbers: Counter[str] = Counter()
    for index, file in enumerate(volumes):
        key = key_of(file.stem)
        if counts[key] > 1 and file.slices:
            numbers[key] += 1
            volumes[index] = replace(file, stem=file.stem.with_name(f"{file.stem.name}-{numbers[key]}"))
    return volumes


def as_sequences(files: Sequence[Input]) -> list[Input]:
    """The same inputs, with the images of each folder as one sequence in the order of their names (2 before 10)."""
    groups: dict[Path, list[Input]] = {}
    for file in files:
        groups.setdefault(file.path.parent, []).append(file)
    return [
        _sequence(folder, sorted(group, key=lambda file: by_number(file.path.name))) for folder, group in groups.items()
    ]


def _sequence(folder: Path, members: Sequence[Input]) -> Input:
    parent = members[0].stem.parent
    stem = parent if parent.name else folder_name(folder, "sequence")
    return Input(folder, stem, members=tuple(members), links=_links(members))


def _links(files: Iterable[Input]) -> tuple[Path, ...]:
    return tuple(path for file in files for path in file.links)


def _volume(group: Sequence[Input]) -> Input:
    folder, stem = group[0].path.parent, group[0].stem.parent
    slices = tuple(file.path for file in group)
    name = stem if stem.name else folder_name(folder, "volume")
    return Input(folder, name, slices, links=_links(group))
