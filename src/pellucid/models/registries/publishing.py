"""Put a version into a registry: its folder and the new index are there afterwards, or neither is.

Files are written into a folder of drafts in the registry. A journal there names the place that they are moved to before
they are; the index is replaced last, in one step. A process that is killed leaves the folder, and the next one that
holds the lock undoes what was not finished: that is so as long as the draft of the index is still there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
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


def publish(root: Path, place: tuple[str, str], files: Mapping[str, bytes], index: Mapping[str, Any]) -> None:
    """Write the files of a version into the folder ``place`` (model, version), and replace the index.

    The caller holds the registry's lock. Whatever ends this early, neither is changed.

    Raises:
        OutputExistsError: the folder is there already.
        WriteError: a link is in the way, or the index became larger than what is read.
        OSError: the system refuses to write.
    """
    text = json.dumps(index, indent=2).encode()
    if len(text) > LARGEST:
        raise WriteError(f"{root}: index.json would have more than {LARGEST:,} bytes: begin another registry")
    folder = root.joinpath(*place)
    _check_free(folder)
    drafts = Path(tempfile.mkdtemp(prefix=_DRAFTS, dir=root))
    try:
        (drafts / _FILES).mkdir()
        for name, content in files.items():
            _write(drafts / _FILES / name, content)
        _write(drafts / INDEX, text)
        _write(drafts / _JOURNAL, json.dumps(place).encode())
        for written in (drafts / _FILES, drafts):
            _sync(written)
        _move(root, drafts, folder)
    finally:
        _undo(root, drafts)
        shutil.rmtree(drafts, ignore_errors=True)


def _move(root: Path, drafts: Path, folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    (drafts / _FILES).rename(folder)
    _sync(folder.parent)
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
    """Remove the folder that the journal names, unless the index that lists it is in place."""
    place = _journal(drafts)
    if place is None or not (drafts / INDEX).exists():
        return
    folder = root.joinpath(*place)
    is_listed = any(one.startswith(f"{place[0]}/{place[1]}/") for one in listed)
    if is_listed or folder.parent.is_symlink() or folder.is_symlink():
        return
    with suppress(OSError):  # no folder, or files that are not of a version: they are the user's
        if not (drafts / _FILES).exists():
            for name in _OWN:
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()
        folder.parent.rmdir()


def _journal(drafts: Path) -> tuple[str, str] | None:
    """The model and version that a journal names; None of one that was not finished, when nothing had been moved."""
    try:
        with (drafts / _JOURNAL).open(encoding="utf-8") as file:
            place = json.loads(file.read(_MAX_JOURNAL))
    except (OSError, ValueError, RecursionError):
        return None
    is_place = isinstance(place, list) and len(place) == 2 and all(map(is_name, place))
    return (place[0], place[1]) if is_place else None


def _check_free(folder: Path) -> None:
    if folder.parent.is_symlink() or (os.path.lexists(folder.parent) and not folder.parent.is_dir()):
        raise WriteError(f"{folder.parent}: a folder of the registry was expected, got something else: remove it")
    if os.path.lexists(folder):
        raise OutputExistsError(
            f"{folder} is already there, and index.json does not list it: remove it, or give another version="
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
