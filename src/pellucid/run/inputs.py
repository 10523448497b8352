"""Find the input files of a command, and give each a distinct name for its results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from pellucid.core.image import Image
from pellucid.core.ordering import by_number
from pellucid.errors import ImageError, OptionError, warn
from pellucid.io import FORMATS, SUFFIXES, is_image_file, read
from pellucid.io.refusal import refused
from pellucid.io.selection import Select
from pellucid.io.series import no_series, of_series, read_slices, series_of, skipping
from pellucid.run.channels import matches, read_channels


@dataclass(frozen=True)
class Input:
    """A file to explain.

    ``stem`` is relative to the output folder: the subfolder of the results, and the beginning of their file names.
    ``slices`` are the files of a volume, ``channels`` the names of files in a study, ``members`` the images of a
    sequence; its ``path`` is their folder.
    """

    path: Path
    stem: PurePath
    slices: tuple[Path, ...] = ()
    channels: tuple[str, ...] = ()
    members: tuple[Input, ...] = ()


def inputs(paths: Sequence[Path], output: Path | None = None) -> list[Input]:
    """The image files at these paths, with folders searched recursively, each with a distinct stem.

    Stems mirror the folders that were searched. Where two files would share a stem (scan.png and scan.jpg), both keep
    their suffix; where they would still share it (a/scan.png and b/scan.png), both keep their folders. Earlier
    results, in an ``output`` below a searched folder, are left out. A PellucidWarning names files that hold no image.

    Raises:
        ImageError: no image file was found.
        OptionError: ``output`` is one of the folders to search.
    """
    skipped: dict[Path, None] = {}
    found = list(_found(paths, output, skipped))
    asked = ", ".join(map(str, paths))
    if not found:
        raise ImageError(
            f"{asked}: no image file was found among {len(skipped)} files; formats are {', '.join(FORMATS)}"
        )
    if skipped:
        warn(skipping(asked, list(skipped)))
    stems = _distinct(found, [_stem(relative) for _, relative in found])
    return [Input(path, stem) for (path, _), stem in zip(found, stems, strict=True)]


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


def studies(paths: Sequence[Path], channels: Sequence[str], output: Path | None = None) -> list[Input]:
    """The folders, at these paths and below, that hold a file of one of these names, each with a distinct stem.

    Stems and an ``output`` are as for ``inputs``; a folder that is a path itself has its own name.

    Raises:
        ImageError: no folder holds one.
        OptionError: a path is no folder, or ``output`` is one of them.
    """
    _check_folders(paths, channels, output)
    results = None if output is None else _real(output)
    found = {
        _real(folder): (folder, PurePath(folder.relative_to(given)) if folder != given else _own_name(given))
        for given in paths
        for folder in _studies_in(given, channels, results)
    }
    if not found:
        asked = ", ".join(map(str, paths))
        raise ImageError(f"{asked}: no folder was found that holds {' or '.join(channels)}: check --channels")
    each = list(found.values())
    stems = _distinct(each, [relative for _, relative in each])
    return [Input(folder, stem, channels=tuple(channels)) for (folder, _), stem in zip(each, stems, strict=True)]


def as_volumes(files: Sequence[Input]) -> list[Input]:
    """The same inputs, with the DICOM slices of each folder and series as one volume, named after their folder.

    Studies stay as they are.
    """
    groups: dict[tuple[Path, str], list[Input]] = {}
    for file in files:
        series = series_of(file.path) if file.path.is_file() else None  # a pipe would wait for its writer
        groups.setdefault((file.path.parent, series or f"{file.path}"), []).append(file)
    volumes = [_volume(group) if len(group) > 1 else group[0] for group in groups.values()]
    counts = Counter(_key(file.stem) for file in volumes)
    numbers: Counter[str] = Counter()
    for index, file in enumerate(volumes):
        key = _key(file.stem)
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
    stem = parent if parent.name else PurePath(_real(folder).name or "sequence")
    return Input(folder, stem, members=tuple(members))


def open_input(file: Input, window: str | None = None, frame: int | None = None, select: Select | None = None) -> Image:
    """Read the image or volume of an input; safe in threads, as it leaves Python's warning filters alone."""
    if file.channels:
        return read_channels(file.path, file.channels, window, frame, select)
    if file.slices:
        return read_slices(file.path, file.slices, window, select)
    return read(file.path, window, frame, select)


def _volume(group: Sequence[Input]) -> Input:
    folder, stem = group[0].path.parent, group[0].stem.parent
    slices = tuple(file.path for file in group)
    return Input(folder, stem if stem.name else PurePath(_real(folder).name or "volume"), slices)


def _stem(relative: PurePath) -> PurePath:
    """A path without the suffix of an image file, which may have two parts (.nii.gz)."""
    name = relative.name
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), relative.suffix)
    stem = name[: len(name) - len(suffix)]
    return relative.with_name(stem if stem.strip(".") else name)  # "." and ".." are no names


def _distinct(found: Sequence[tuple[Path, PurePath]], stems: list[PurePath]) -> list[PurePath]:
    """Stems that no two files share, compared without case, as some file systems do."""
    counts = Counter(_key(stem) for stem in stems)
    stems = [relative if counts[_key(stem)] > 1 else stem for stem, (_, relative) in zip(stems, found, strict=True)]
    counts = Counter(_key(stem) for stem in stems)
    if max(counts.values()) == 1:
        return stems
    absolute = [_real(path) for path, _ in found]
    root = Path(os.path.commonpath(path.parent for path in absolute)) if _one_drive(absolute) else Path()
    return [
        PurePath(*path.relative_to(root).parts if _one_drive(absolute) else path.parts[1:])
        if counts[_key(stem)] > 1
        else stem
        for stem, path in zip(stems, absolute, strict=True)
    ]


def _one_drive(paths: Iterable[Path]) -> bool:
    return len({path.anchor for path in paths}) == 1


def _key(stem: PurePath) -> str:
    return str(stem).casefold()


def _found(paths: Sequence[Path], output: Path | None, skipped: dict[Path, None]) -> Iterator[tuple[Path, PurePath]]:
    """Each file once, with its path relative to the folder that was searched; ``skipped`` gets those of no image."""
    seen: set[Path] = set()
    results = None if output is None else _real(output)
    _check_output(paths, output)
    for given in paths:
        for path, relative in _files_at(given, results, skipped):
            real = _real(path)
            if real not in seen:
                seen.add(real)
                yield path, relative


def _real(path: Path) -> Path:
    """The path without links; ``Path.resolve`` raises where links form a loop."""
    return Path(os.path.realpath(path))


def _check_output(paths: Sequence[Path], output: Path | None) -> None:
    if output is not None and any(given.is_dir() and _real(given) == _real(output) for given in paths):
        raise OptionError(f"--output {output} was given; it is also an input: choose another folder")


def _check_folders(paths: Sequence[Path], channels: Sequence[str], output: Path | None) -> None:
    for given in paths:
        if not given.is_dir():
            named = ",".join(channels)
            raise OptionError(f"--channels {named} was given with {given}, which is no folder: give the study's folder")
    _check_output(paths, output)


def _own_name(folder: Path) -> PurePath:
    return PurePath(_real(folder).name or "study")


def _studies_in(folder: Path, channels: Sequence[str], results: Path | None) -> Iterator[Path]:
    """A folder if it holds a channel, and the studies below it, but not below a channel that is a folder of slices."""
    try:
        entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise refused(folder, error.strerror or error) from error
    fitting = {path for path in entries if any(matches(path, name) for name in channels)}
    if fitting:
        yield folder
    for path in entries:
        if path.is_dir() and not path.is_symlink() and path not in fitting and _real(path) != results:
            yield from _studies_in(path, channels, results)


def _files_at(given: Path, results: Path | None, skipped: dict[Path, None]) -> Iterator[tuple[Path, PurePath]]:
    if not given.is_dir():
        yield given, PurePath(given.name)
        return
    excluded = results if results is not None and _real(given) in results.parents else None
    for path in sorted(given.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(given).parts)
        if hidden or not path.is_file() or excluded in _real(path).parents:
            continue
        if is_image_file(path):
            yield path, PurePath(path.relative_to(given))
        else:
            skipped[path] = None
