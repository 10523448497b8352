"""Reads what a user states of images from a CSV file: labels, and also patients and splits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pellucid.errors import OptionError, counted, did_you_mean, warn
from pellucid.io.refusal import one_line
from pellucid.run.csv_lines import read_lines
from pellucid.run.inputs import Input

_NEEDED = ("path", "label")
PATIENT = "patient"
_OPTIONAL = (PATIENT, "split")
_SEPARATOR = ";"
"""Between the labels of an image that has several."""
_SHOWN = 3
"""So many examples are named in a warning."""


@dataclass(frozen=True)
class Row:
    """A row of the file: its path as it is written, and what it states."""

    path: str
    stated: Mapping[str, str]


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file (UTF-8) with a header: path and label, and also patient and split.

    A PellucidWarning names other columns.

    Raises:
        OptionError: it cannot be read, is too large, or has no such header.
    """
    asked = f"--labels {path} was given"
    if not path.is_file():
        raise OptionError(f"{asked}; it is no file: give a CSV file with the columns path and label")
    header, *lines = read_lines(path, asked, OptionError)
    columns = _columns(header, asked)
    return [_row(line, columns, asked) for line in lines]


def _columns(header: Sequence[str], asked: str) -> list[str]:
    names = [name.strip().casefold() for name in header]
    if missing := [name for name in _NEEDED if name not in names]:
        found = one_line(", ".join(names) or "nothing")
        raise OptionError(
            f"{asked}; its first line names no column {' and '.join(missing)}, but {found}: begin it with "
            f"{','.join(_NEEDED)}"
        )
    if twice := [name for name in (*_NEEDED, *_OPTIONAL) if names.count(name) > 1]:
        raise OptionError(f"{asked}; its first line names the column {twice[0]} twice: name it once")
    if others := [name for name in names if name not in (*_NEEDED, *_OPTIONAL)]:
        left = f"{counted(len(others), 'column')} {_some(others)} {_verb(others)} left out"
        warn(f"{asked}; its {left}: {', '.join((*_NEEDED, *_OPTIONAL))} are read")
    return names


def _row(line: Sequence[str], columns: Sequence[str], asked: str) -> Row:
    if len(line) != len(columns):
        raise OptionError(
            f"{asked}; the row of {one_line(line[0])} has {counted(len(line), 'cell')}, its first line has "
            f"{len(columns)}: put values with commas into quotes"
        )
    cells = dict(zip(columns, (cell.strip() for cell in line), strict=True))
    stated = {name: cells[name] for name in ("label", *_OPTIONAL) if cells.get(name)}
    return Row(cells["path"], stated)


def labels_of(
    rows: Sequence[Row], path: Path, files: Sequence[Input], folders: Iterable[Path], classes: Sequence[str] | None
) -> dict[PurePath, Mapping[str, str]]:
    """What the rows of the file at ``path`` state of each input, by the input's stem.

    The paths of rows are relative to the file's folder or to one of ``folders``, or absolute. Warnings count what does
    not fit: rows that name no file or no input, inputs without a row, and labels that are none of ``classes``.

    Raises:
        OptionError: two rows state different things of one input.
    """
    asked = f"--labels {path} was given"
    roots, known = [path.parent, *folders], {real: file for file in files for real in _paths_of(file)}
    found: dict[PurePath, Row] = {}
    lost: list[str] = []
    missing: list[str] = []
    again: list[str] = []
    for row in rows:
        file = next((known[real] for real in _candidates(row.path, roots) if real in known), None)
        if file is None:
            exists = any(map(os.path.exists, _candidates(row.path, roots)))
            (lost if exists else missing).append(row.path)
        elif file.stem not in found:
            found[file.stem] = row
        elif found[file.stem].stated != row.stated:
            raise OptionError(
                f"{asked}; {one_line(found[file.stem].path)} and {one_line(row.path)} are the same image, with "
                "different values: leave one row"
            )
        else:
            again.append(row.path)
    _tell(asked, "row", missing, "whose file is missing", "whose file is missing")
    _tell(asked, "row", lost, "that name no image which is explained", "that names no image which is explained")
    _tell(asked, "row", again, "that are there twice", "that is there twice")
    bare = [file.path.name for file in files if file.stem not in found]
    _tell(asked, "image", bare, "without a row", "without a row")
    if classes is not None:
        _check_classes(asked, found.values(), classes)
    return {stem: row.stated for stem, row in found.items()}


def _check_classes(asked: str, rows: Iterable[Row], classes: Sequence[str]) -> None:
    """Warn of labels that are neither a class's name nor its index."""
    names = {name.casefold() for name in classes} | {str(index) for index in range(len(classes))}
    stated = dict.fromkeys(label for row in rows for label in _labels(row.stated.get("label", "")))
    labels = [label for label in stated if label.casefold() not in names]
    if labels:
        near = did_you_mean(labels[0], classes, 1)
        warn(f"{asked}; {counted(len(labels), 'label')} {_verb(labels)} no class of the model ({_some(labels)}){near}")


def _labels(text: str) -> list[str]:
    return [part.strip() for part in text.split(_SEPARATOR) if part.strip()]


def _paths_of(file: Input) -> Iterator[str]:
    """The paths that stand for an input, without links."""
    yield from (os.path.realpath(path) for path in (file.path, *file.links))


def _candidates(path: str, roots: Sequence[Path]) -> Iterator[str]:
    """Where a path may lead, without links; nowhere if no file can have it."""
    for root in roots if path and "\0" not in path else ():
        yield os.path.realpath(root / path)


def _tell(asked: str, noun: str, which: Sequence[str], what: str, of_one: str) -> None:
    if which:
        which_ones = f"{counted(len(which), noun)} {of_one if len(which) == 1 else what}"
        warn(f"{asked}; there {_verb(which)} {which_ones}: {_some(which)}")


def _verb(which: Sequence[str]) -> str:
    return "is" if len(which) == 1 else "are"


def _some(names: Sequence[str]) -> str:
    return one_line(", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else ""))
