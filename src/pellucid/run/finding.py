"""Find the input files of a command, and give each a distinct name for its results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pellucid.errors import ImageError, OptionError, warn
from pellucid.export.earlier import results_among
from pellucid.io import FORMATS, is_image_file
from pellucid.io.refusal import refused
from pellucid.io.series import skipping
from pellucid.run.channels import matches
from pellucid.run.inputs import Input
from pellucid.run.stems import distinct, folder_name, real_path, stem_of


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
    stems = distinct(each, [stem_of(relative) for _, relative in each])
    return [Input(one.paths[0], stem, links=tuple(one.paths[1:])) for one, stem in zip(found, stems, strict=True)]


def studies(paths: Sequence[Path], channels: Sequence[str], output: Path | None = None) -> list[Input]:
    """The folders, at these paths and below, that hold a file of one of these names, each with a distinct stem.

    Stems and an ``output`` are as for ``inputs``; a folder that is a path itself has its own name.

    Raises:
        ImageError: no folder holds one.
        OptionError: a path is no folder, or ``output`` is one of them.
    """
    _check_folders(paths, channels, output)
    results = None if output is None else real_path(output)
    found = {
        real_path(folder): (
            folder,
            PurePath(folder.relative_to(given)) if folder != given else folder_name(given, "study"),
        )
        for given in paths
        for folder in _studies_in(given, channels, results)
    }
    if not found:
        asked = ", ".join(map(str, paths))
        raise ImageError(f"{asked}: no folder was found that holds {' or '.join(channels)}: check --channels")
    each = list(found.values())
    stems = distinct(each, [relative for _, relative in each])
    return [Input(folder, stem, channels=tuple(channels)) for (folder, _), stem in zip(each, stems, strict=True)]


@dataclass(frozen=True)
class _File:
    """A file that was found: its paths, and the first of them relative to the folder that was searched."""

    paths: list[Path]
    relative: PurePath


def _found(paths: Sequence[Path], output: Path | None, skipped: dict[Path, None]) -> Iterable[_File]:
    """Each file once; ``skipped`` gets those of no image."""
    seen: dict[object, _File] = {}
    results = None if output is None else real_path(output)
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
        return real_path(path)
    return (facts.st_dev, facts.st_ino) if facts.st_nlink > 1 and facts.st_ino else real_path(path)


def _check_output(paths: Sequence[Path], output: Path | None) -> None:
    if output is not None and any(given.is_dir() and real_path(given) == real_path(output) for given in paths):
        raise OptionError(f"--output {output} was given; it is also an input: choose another folder")


def _check_folders(paths: Sequence[Path], channels: Sequence[str], output: Path | None) -> None:
    for given in paths:
        if not given.is_dir():
            named = ",".join(channels)
            raise OptionError(f"--channels {named} was given with {given}, which is no folder: give the study's folder")
    _check_output(paths, output)


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
        if path.is_dir() and not path.is_symlink() and path not in fitting and real_path(path) != results:
            yield from _studies_in(path, channels, results)


def _files_at(given: Path, results: Path | None, skipped: dict[Path, None]) -> Iterator[tuple[Path, PurePath]]:
    if not given.is_dir():
        yield given, PurePath(given.name)
        return
    excluded = results if results is not None and real_path(given) in results.parents else None
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
    return not is_hidden and path.is_file() and excluded not in real_path(path).parents
