"""Writes several files into a folder as one unit: either all of them are there afterwards, or none."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from pellucid.errors import OutputExistsError, WriteError

try:
    import fcntl
except ImportError:  # a system without such locks, where drafts are not told from those of a running process
    fcntl = None  # type: ignore[assignment]

_DRAFTS = ".part-"
_NAME = re.compile(rf"{re.escape(_DRAFTS)}\w{{8}}")
"""How the names of folders begin that hold files while they are written, and these names as tempfile makes them."""
_ATTEMPTS = 10


def check_writable(folder: Path) -> None:
    """Check that a folder exists or can be made, before any work is done. Nothing is created.

    Raises:
        WriteError: a file is in the way, or the permission to write is missing.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise WriteError(f"{folder}: cannot be a folder, {existing} is a file: choose another --output")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise WriteError(f"{folder}: cannot be written to, {existing} does not allow it: choose another --output")


def write(folder: Path, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write files (contents by name) into a folder, which is created. No partial file is ever visible.

    Raises:
        OutputExistsError: a file is already there and ``overwrite`` is false; nothing is written.
        WriteError: the system refuses to write.
    """
    existing = [name for name in files if os.path.lexists(folder / name)]
    if existing and not overwrite:
        raise OutputExistsError(f"{folder / existing[0]} is already there: remove it, or replace it with --overwrite")
    created: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _drafts(folder) as drafts:
            for index, content in enumerate(files.values()):
                (drafts / str(index)).write_bytes(content)
            for index, name in enumerate(files):
                # Recorded before the move: an interrupt may be raised just after it.
                created += [] if name in existing else [folder / name]
                (drafts / str(index)).replace(folder / name)
            created = []
    except OSError as error:
        cure = "give the file a shorter name" if error.errno == errno.ENAMETOOLONG else "choose another --output"
        raise WriteError(f"{folder}: cannot be written to ({error.strerror or error}): {cure}") from None
    finally:
        # After an error or an interrupt, files that were already moved are removed again.
        for path in created:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what processes that were killed have left of files that they were writing, here and in subfolders."""
    for drafts in [path for path in folder.rglob(f"{_DRAFTS}*") if _NAME.fullmatch(path.name)]:
        with suppress(OSError):
            held = _lock(drafts)  # refused while a process writes there
            try:
                # Nothing but drafts is removed: a folder of the user's may have such a name, too.
                if all(path.name.isdecimal() and not path.is_dir() for path in drafts.iterdir()):
                    shutil.rmtree(drafts)
            finally:
                os.close(held)


@contextmanager
def _drafts(folder: Path) -> Iterator[Path]:
    """A new folder for drafts, locked while it is used; a process that is killed loses the lock."""
    for _ in range(_ATTEMPTS):
        # The name is random, so that no prepared link can redirect a write.
        with TemporaryDirectory(prefix=_DRAFTS, dir=folder, ignore_cleanup_errors=True) as name, ExitStack() as held:
            try:
                held.callback(os.close, _lock(Path(name)))
            except (BlockingIOError, FileNotFoundError):  # another process swept it before it was locked
                continue
            except OSError:
                pass  # a file system without locks, where nothing is swept
            if Path(name).is_dir():
                yield Path(name)
                return
    raise OSError(errno.EBUSY, "other processes remove its temporary folders")


def _lock(folder: Path) -> int:
    """Lock a folder, and return the descriptor that holds the lock; ``OSError`` if it cannot be locked."""
    if fcntl is None:
        raise OSError(errno.ENOLCK, "no locks")
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(held)
        raise
    return held
