"""One writer of a registry at a time, on this machine and on others that share its file system."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pellucid.errors import WriteError

NAME = ".index.lock"
PATIENCE = 600.0
"""Seconds to wait for other writers: each may write a large file to a slow disk."""
_POLL = 0.01


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other processes and threads from writing to a registry; one that is killed loses its lock.

    Raises:
        WriteError: another writer does not end, or a file that is no lock is in the way.
        OSError: the system refuses to write there.
    """
    path = root / NAME
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise WriteError(f"{path}: the lock of the registry was expected, got no file of its own: remove it")
    lock = FileLock(path, timeout=PATIENCE, poll_interval=_POLL)
    try:
        lock.acquire()
    except Timeout:
        raise WriteError(f"{root}: another process is writing there, and does not end: try again later") from None
    try:
        yield
    finally:
        lock.release()
