"""Where a record's files are: always within the registry, whatever its index states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from pellucid.errors import CheckpointError, warn
from pellucid.models.checkpoints.refusals import words
from pellucid.models.registries.record import ModelRecord

LONGEST = 4096
MOST = 32  # last names of a path by which a file is looked for


def weights_file(root: Path, record: ModelRecord) -> Path:
    """Return a record's weights file.

    A path of another machine, with slashes of either kind, is that of the file with its last names in the registry.

    Raises:
        CheckpointError: the record states no file, one that is not there, or one that is not within the registry.
    """
    if record.path is None:
        raise CheckpointError(f"{root}: {record.name} has no checkpoint_path in index.json: correct it there")
    found = file_within(root, record.path, record.name)
    if found is None:
        raise CheckpointError(
            f"{root}: the file of {record.name} was expected at {words(record.path)!r}, got nothing there; copy it "
            "into the registry, or correct checkpoint_path in index.json"
        )
    stated = PureWindowsPath(record.path)
    if stated.anchor or found != root.joinpath(*stated.parts):
        warn(f"{root}: {record.name} states the file {words(record.path)!r}; {found.relative_to(root)} is read")
    return found


def file_within(root: Path, stated: str, name: str) -> Path | None:
    """Return the file at a path that an index states; None if there is none.

    Raises:
        CheckpointError: it is not within the registry.
    """
    for candidate in _candidates(root, stated, name):
        try:
            if not candidate.is_file():
                continue
            inside = candidate.resolve().is_relative_to(root.resolve())
        except (OSError, RuntimeError):  # a name that is too long, or links in a circle
            continue
        if not inside:
            raise _outside(root, stated, name, "follows a link out of")
        return candidate
    return None


def _candidates(root: Path, stated: str, name: str) -> Iterator[Path]:
    """The path within the registry, then those of its last names."""
    path = PureWindowsPath(stated)  # takes slashes of both kinds
    names = path.parts[1:] if path.anchor else path.parts
    # Windows leaves out dots and spaces at a name's end.
    if "\0" in stated or len(stated) > LONGEST or any(not one.rstrip(" .") for one in names):
        raise _outside(root, stated, name, "may lead out of")
    yield from (root.joinpath(*names[start:]) for start in range(max(0, len(names) - MOST), len(names)))


def _outside(root: Path, stated: str, name: str, how: str) -> CheckpointError:
    return CheckpointError(
        f"{root}: the path of {name}, {words(stated)!r}, {how} the registry, and is not read: copy the file into the "
        "registry, and correct checkpoint_path in index.json"
    )
