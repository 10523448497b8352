"""Find the input files of a command, and give each a distinct name for its results."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from pellucid.core.image import Image
from pellucid.core.ordering import by_number
from pellucid.errors import ImageError, OptionError, warn
from pellucid.export.earlier import results_among
from pellucid.io import FORMATS, SUFFIXES, is_image_file, read
from pellucid.io.refusal import MAX_BYTES, digest, refused
from pellucid.io.selection import Select
from pellucid.io.series import no_series, of_series, read_slices, series_of, skipping
from pellucid.run.channels import channel_paths, matches, read_channels


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


def inputs(paths: Sequence[Path], output: Path | None = None) -> list[Input]:
    """The image files at these paths, with folders searched recursively, each with a distinct stem.

    Stems mirror the folders that were searched. Where two files would share a stem (scan.png and scan.jpg), both keep
    their suffix; where they would still share it (a/scan.png and b/scan.png), both keep their folders. Symbolic and
    hard links to one file are one input. Earlier results, in an ``output`` below a searched folder or with their
    metadata beside them, are left out. A PellucidWarning names files that hold no image.

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
    each = [(one.paths[0], one.relative) for one in found]
    stems = _distinct(each, [_stem(relative) for _, relative in each])
    return [Input(one.paths[0], stem, links=tuple(one.paths[1:])) for one, stem in zip(found, stems, strict=True)]


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
    return Input(folder, stem, members=tuple(members), links=_links(members))


def _links(files: Iterable[Input]) -> tuple[Path, ...]:
    return tuple(path for file in files for path in file.links)


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
    name = stem if stem.name else PurePath(_real(folder).name or "volume")
    return Input(folder, name, slices, links=_links(group))


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


@dataclass(frozen=True)
class _File:
    """A file that was found: its paths, and the first of them relative to the folder that was searched."""

    paths: list[Path]
    relative: PurePath


def _found(paths: Sequence[Path], output: Path | None, skipped: dict[Path, None]) -> Iterable[_File]:
    """Each file once; ``skipped`` gets those of no image."""
    seen: dict[object, _File] = {}
    results = None if output is None else _real(output)
    _check_output(paths, output)
    for given in paths:
        for path, relative in _files_at(given, results, skipped):
            file = seen.setdefault(_identity(path), _File([], relative))
            if _absolute(path) not in map(_absolute, file.paths):
                file.paths.append(path)
    return seen.values()


def _absolute(path: Path) -> str:
    """The path from the root, with links as they are."""
    return os.path.normpath(path.absolute())


def _identity(path: Path) -> object:
    """What all links to a file have in common."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return _real(path)
    return (facts.st_dev, facts.st_ino) if facts.st_nlink > 1 and facts.st_ino else _real(path)


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
    paths = [path for path in sorted(given.rglob("*")) if _is_searched(path, given, excluded)]
    earlier = results_among(paths)
    if earlier:
        files = (
            "1 file of earlier results was" if len(earlier) == 1 else f"{len(earlier)} files of earlier results were"
        )
        warn(f"{given}: {files} left out")
    for path in paths:
        if path in earlier:
            continue
        if is_image_file(path):
            yield path, PurePath(path.relative_to(given))
        else:
            skipped[path] = None


def _is_searched(path: Path, folder: Path, excluded: Path | None) -> bool:
    """Whether it is a file, not a hidden one, and not in a folder that is excluded."""
    is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not is_hidden and path.is_file() and excluded not in _real(path).parents
