"""Which files a command is to work on, and what their results are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from pellucid.core.image import Image
from pellucid.errors import ImageError, OptionError
from pellucid.io import SUFFIXES, is_picture, read
from pellucid.io.series import read_slices, series_of


@dataclass(frozen=True)
class Input:
    """A file to explain; ``place`` is the folder of its results and the beginning of their names.

    ``slices``: the files of a volume, whose ``path`` is their folder.
    """

    path: Path
    place: PurePath
    slices: tuple[Path, ...] = ()


def inputs(paths: Sequence[Path], output: Path | None = None) -> list[Input]:
    """The files at these paths, folders searched through, each with a place of its own.

    Places mirror the folders that the files are found in. Where two files would share one (scan.png and
    scan.jpg), their names keep the ending; where that does not tell them apart (a/scan.png and b/scan.png),
    their folders are kept. Earlier results, in an ``output`` below such a folder, are left out.
    """
    found = list(_found(paths, output))
    if not found:
        asked = ", ".join(map(str, paths))
        raise ImageError(f"{asked}: no picture was found there; looked for {' '.join(SUFFIXES)}")
    stems = _apart(found, [_stem(relative) for _, relative in found])
    return [Input(path, place) for (path, _), place in zip(found, stems, strict=True)]


def as_volumes(files: Sequence[Input]) -> list[Input]:
    """The same, with DICOM slices of one folder and series as one volume, in the place of their folder."""
    groups: dict[tuple[Path, str], list[Input]] = {}
    for file in files:
        groups.setdefault((file.path.parent, series_of(file.path) or f"{file.path}"), []).append(file)
    made = [_volume(group) if len(group) > 1 else group[0] for group in groups.values()]
    counts = Counter(_key(file.place) for file in made)
    numbers: Counter[str] = Counter()
    for index, file in enumerate(made):
        if counts[_key(file.place)] > 1 and file.slices:
            numbers[_key(file.place)] += 1
            made[index] = replace(file, place=file.place.with_name(f"{file.place.name}-{numbers[_key(file.place)]}"))
    return made


def opened(file: Input, window: str | None = None, frame: int | None = None) -> Image:
    """The picture or volume of a file; for threads."""
    return read_slices(file.path, file.slices, window) if file.slices else read(file.path, window, frame)


def _volume(group: Sequence[Input]) -> Input:
    folder, place = group[0].path.parent, group[0].place.parent
    slices = tuple(file.path for file in group)
    return Input(folder, place if place.name else PurePath(folder.resolve().name or "volume"), slices)


def _stem(relative: PurePath) -> PurePath:
    """A path without the ending of a picture's name, which may be of two parts."""
    name = relative.name
    ending = next((ending for ending in SUFFIXES if name.lower().endswith(ending)), relative.suffix)
    return relative.with_name(name[: len(name) - len(ending)] or name)


def _apart(found: Sequence[tuple[Path, PurePath]], stems: list[PurePath]) -> list[PurePath]:
    """Places that no two files share, compared as a file system that ignores case would."""
    counts = Counter(_key(stem) for stem in stems)
    stems = [relative if counts[_key(stem)] > 1 else stem for stem, (_, relative) in zip(stems, found, strict=True)]
    counts = Counter(_key(stem) for stem in stems)
    if max(counts.values()) == 1:
        return stems
    whole = [path.resolve() for path, _ in found]
    root = Path(os.path.commonpath(path.parent for path in whole)) if _one_drive(whole) else Path()
    return [
        PurePath(*path.relative_to(root).parts if _one_drive(whole) else path.parts[1:])
        if counts[_key(stem)] > 1
        else stem
        for stem, path in zip(stems, whole, strict=True)
    ]


def _one_drive(paths: Iterable[Path]) -> bool:
    return len({path.anchor for path in paths}) == 1


def _key(place: PurePath) -> str:
    return str(place).casefold()


def _found(paths: Sequence[Path], output: Path | None) -> Iterator[tuple[Path, PurePath]]:
    """Each file once, with its path relative to the folder that was named."""
    seen: set[Path] = set()
    results = None if output is None else output.resolve()
    for given in paths:
        if given.is_dir() and given.resolve() == results:
            raise OptionError(f"--output {output} was given; the pictures are in it: name a folder of its own")
    for given in paths:
        for path, relative in _below(given, results):
            if path.resolve() not in seen:
                seen.add(path.resolve())
                yield path, relative


def _below(given: Path, results: Path | None) -> Iterator[tuple[Path, PurePath]]:
    if not given.is_dir():
        yield given, PurePath(given.name)
        return
    earlier = results if results is not None and given.resolve() in results.parents else None
    for path in sorted(given.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(given).parts)
        if not hidden and path.is_file() and is_picture(path) and earlier not in path.resolve().parents:
            yield path, PurePath(path.relative_to(given))
