"""Put files of a version into a registry: they and the new index are there afterwards, or neither is.

Files are written into a folder of drafts in the registry. A journal there names them, the place that they are moved to
before they are, and which folders are made for it; the index is replaced last, in one step. A process that is killed
leaves the folder, and the next one that holds the lock undoes what was not finished: that is so as long as the draft of
the index is still there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import OutputExistsError, WriteError
from pellucid.models.registries import evaluations
from pellucid.models.registries.index import LARGEST
from pellucid.models.registries.index import NAME as INDEX
from pellucid.models.registries.versions import is_name

WEIGHTS = "model.safetensors"
_DRAFTS = ".part-"
_IS_DRAFTS = re.compile(rf"{re.escape(_DRAFTS)}\w{{8}}")
_FILES, _JOURNAL = "files", "journal"
_OWN = {WEIGHTS, evaluations.NAME}
"""The files of a version's folder."""
_MAX_JOURNAL = 4096


@dataclass(frozen=True)
class Moved:
    """What a journal names: the place (model, version), the files that are moved there, and how many folders are made.

    Two are made for the first version of a model, one for a further version, and none where the version has one.
    """

    place: tuple[str, str]
    files: tuple[str, ...]
    made: int

    @classmethod
    def to(cls, root: Path, place: tuple[str, str], files: Iterable[str]) -> Moved:
        """What is moved into a place, by the folders that are there now."""
        folder = root.joinpath(*place)
        return cls(place, tuple(files), sum(not path.exists() for path in (folder, folder.parent)))

    @classmethod
    def of(cls, drafts: Path) -> Moved | None:
        """What a journal names; None of one that was not finished, when nothing had been moved."""
        try:
            with (drafts / _JOURNAL).open(encoding="utf-8") as file:
                found = json.loads(file.read(_MAX_JOURNAL))
            place, files, made = found["place"], found["files"], found["made"]
            is_place = len(place) == 2 and all(map(is_name, place)) and set(files) <= _OWN and made in (0, 1, 2)
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            return None
        return cls((place[0], place[1]), tuple(files), made) if is_place else None


def publish(root: Path, place: tuple[str, str], files: Mapping[str, bytes], index: Mapping[str, Any]) -> None:
    """Write files of a version into the folder ``place`` (model, version), and replace the index.

    The caller holds the registry's lock. Whatever ends this early, neither is changed.

    Raises:
        OutputExistsError: a file is there already.
        WriteError: a link is in the way, or the index became larger than what is read.
        OSError: the system refuses to write.
    """
    text = json.dumps(index, indent=2).encode()
    if len(text) > LARGEST:
        raise WriteError(f"{root}: index.json would have more than {LARGEST:,} bytes: begin another registry")
    _check_folders(root.joinpath(*place))
    for name in files:
        check_free(root.joinpath(*place, name))
    drafts = Path(tempfile.mkdtemp(prefix=_DRAFTS, dir=root))
    try:
        (drafts / _FILES).mkdir()
        for name, content in files.items():
            _write(drafts / _FILES / name, content)
        _write(drafts / INDEX, text)
        _write(drafts / _JOURNAL, json.dumps(asdict(Moved.to(root, place, files))).encode())
        for written in (drafts / _FILES, drafts):
            _sync(written)
        _move(root, drafts, root.joinpath(*place), files)
    finally:
        _undo(root, drafts)
        shutil.rmtree(drafts, ignore_errors=True)


def _move(root: Path, drafts: Path, folder: Path, files: Iterable[str]) -> None:
    for name in files:
        folder.mkdir(parents=True, exist_ok=True)
        (drafts / _FILES / name).rename(folder / name)
    for path in (folder, folder.parent):
        _sync(path)
    if (root / INDEX).exists():
        shutil.copymode(root / INDEX, drafts / INDEX)
    (drafts / INDEX).replace(root / INDEX)
    _sync(root)


def sweep(root: Path, listed: frozenset[str]) -> None:
    """Undo what processes that were killed have left; the caller holds the registry's lock.

    ``listed`` are the places of the files in the index: none of them is removed.
    """
    for drafts in [path for path in root.iterdir() if _IS_DRAFTS.fullmatch(path.name)]:
        names = {path.name for path in drafts.iterdir()} if drafts.is_dir() and not drafts.is_symlink() else {""}
        # Nothing but drafts is removed: a folder of the user's may have such a name, too.
        if names <= {_FILES, INDEX, _JOURNAL}:
            _undo(root, drafts, listed)
            shutil.rmtree(drafts, ignore_errors=True)


def _undo(root: Path, drafts: Path, listed: frozenset[str] = frozenset()) -> None:
    """Remove the files and folders that the journal names, unless the index that lists them is in place."""
    moved = Moved.of(drafts)
    if moved is None or not (drafts / INDEX).exists():
        return
    folder = root.joinpath(*moved.place)
    if folder.parent.is_symlink() or folder.is_symlink():
        return
    for name in moved.files:
        if f"{moved.place[0]}/{moved.place[1]}/{name}" not in listed and not (drafts / _FILES / name).exists():
            (folder / name).unlink(missing_ok=True)
    for made in (folder, folder.parent)[: moved.made]:
        with suppress(OSError):  # no folder yet, or files that are not of a version: they are the user's
            made.rmdir()


def _check_folders(folder: Path) -> None:
    for path in (folder.parent, folder):
        if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
            raise WriteError(f"{path}: a folder of the registry was expected, got something else: remove it")


def check_free(path: Path) -> None:
    """Raise for a file or folder that is there already: no index lists it. ``OutputExistsError``: it is."""
    if os.path.lexists(path):
        raise OutputExistsError(
            f"{path} is already there, and index.json does not list it: remove it, or give another version="
        )


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Let the names in a folder reach the disk; not on a system where folders cannot be opened."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
