"""Folders of drafts: files are written there, and moved to their places together, or not at all.

While files are moved, a journal names them. A process that is killed meanwhile leaves it, and ``sweep`` moves
everything back, earlier files to their places, too. Once the journal is removed, all files are in place.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without such locks, where drafts are not told from those of a running process
    fcntl = None  # type: ignore[assignment]

_DRAFTS = ".part-"
_NAME = re.compile(rf"{re.escape(_DRAFTS)}\w{{8}}")
"""How the names of folders begin that hold files while they are written, and these names as tempfile makes them."""
_JOURNAL = "journal"
_OWN = re.compile(rf"\d+|earlier-\d+|{_JOURNAL}")
"""The names of what such a folder holds: new files, earlier ones, and the journal."""
_MAX_JOURNAL = 2**24
_ATTEMPTS = 10
_PATIENCE = 60.0
"""Seconds to wait for another process that moves files into the same folder, which takes milliseconds."""


@contextmanager
def drafts_in(folder: Path) -> Iterator[Path]:
    """A new folder for drafts, locked while it is used; a process that is killed loses the lock."""
    for _ in range(_ATTEMPTS):
        # The name is random, so that no prepared link can redirect a write.
        drafts = Path(tempfile.mkdtemp(prefix=_DRAFTS, dir=folder))
        with ExitStack() as held:
            held.callback(_removed, drafts)
            try:
                held.callback(os.close, _lock(drafts))
            except (BlockingIOError, FileNotFoundError):  # another process swept it before it was locked
                continue
            except OSError:
                pass  # a file system without locks, where nothing is swept
            if drafts.is_dir():
                yield drafts
                return
    raise OSError(errno.EBUSY, "other processes remove its temporary folders")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes and threads from moving files into a folder. ``OSError``: another one does not end."""
    end = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.callback(os.close, _lock(folder, os.O_RDONLY))
            except BlockingIOError:
                if time.monotonic() > end:
                    raise OSError(errno.EBUSY, "another process is writing there, and does not end") from None
                time.sleep(0.002)
                continue
            except OSError:
                pass  # a file system without locks
            break
        yield


def publish(drafts: Path, names: Sequence[str], earlier: Sequence[str]) -> None:
    """Move the drafts 0, 1, … to ``names`` beside their folder, and replace the files ``earlier``, all or none.

    A single file is replaced in one step; several are moved aside before, so that an error brings them back.
    """
    folder = drafts.parent
    if len(names) == 1 and set(earlier) <= set(names):
        (drafts / "0").replace(folder / names[0])
        return
    aside = [name for name in earlier if os.path.lexists(folder / name)]
    for name in aside:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
    try:
        (drafts / _JOURNAL).write_text(json.dumps({"names": list(names), "earlier": aside}), encoding="utf-8")
        for index, name in enumerate(aside):
            (folder / name).replace(drafts / f"earlier-{index}")
        for index, name in enumerate(names):
            (drafts / str(index)).replace(folder / name)
        (drafts / _JOURNAL).unlink()
    except BaseException:
        _move_back(drafts)
        raise


def _move_back(drafts: Path) -> None:
    """Undo what the journal names. Whatever ends this, calling it again does the rest."""
    folder, (names, aside) = drafts.parent, _journal(drafts)
    for index, name in enumerate(names):
        if not os.path.lexists(drafts / str(index)) and os.path.lexists(folder / name):
            (folder / name).replace(drafts / str(index))
    for index, name in enumerate(aside):
        if os.path.lexists(drafts / f"earlier-{index}"):
            (drafts / f"earlier-{index}").replace(folder / name)
    (drafts / _JOURNAL).unlink(missing_ok=True)


def _journal(drafts: Path) -> tuple[list[str], list[str]]:
    """The new names and the earlier ones; none of a journal that was not finished, when nothing had been moved."""
    try:
        with (drafts / _JOURNAL).open(encoding="utf-8") as file:
            facts = json.loads(file.read(_MAX_JOURNAL))
        names, aside = facts["names"], facts["earlier"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return [], []
    each = [*names, *aside] if isinstance(names, list) and isinstance(aside, list) else [None]
    return (names, aside) if all(map(is_name, each)) else ([], [])


def is_name(name: object) -> bool:
    """Whether something that a file states is the name of a file, and no path."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def sweep(folder: Path) -> None:
    """Undo what processes that were killed have left of files that they were writing, here and in subfolders."""
    for drafts in [path for path in folder.rglob(f"{_DRAFTS}*") if _NAME.fullmatch(path.name)]:
        with suppress(OSError), ExitStack() as stack:
            stack.callback(os.close, _lock(drafts))  # refused while a process writes there
            # Nothing but drafts is removed: a folder of the user's may have such a name, too.
            if all(_OWN.fullmatch(path.name) and not path.is_dir() for path in drafts.iterdir()):
                with held(drafts.parent):
                    _move_back(drafts)
                _removed(drafts)


def _removed(drafts: Path) -> None:
    """Remove a folder of drafts, unless it holds files that could not be moved back."""
    if not os.path.lexists(drafts / _JOURNAL):
        shutil.rmtree(drafts, ignore_errors=True)


def _lock(folder: Path, flags: int = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)) -> int:
    """Lock a folder, and return the descriptor that holds the lock; ``OSError`` if it cannot be locked."""
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no locks")
    descriptor = os.open(folder, flags | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
