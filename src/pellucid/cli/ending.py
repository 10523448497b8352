"""How the command line's process ends at SIGTERM and SIGHUP: after it removed its temporary files, by the signal."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_GRACE = 5.0
"""Seconds in which repetitions of the signal are ignored. Terminals and systemd send two at once."""
_NUMBERS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]


class Terminated(SystemExit):
    """The process was asked to end; raised wherever it is, so that everything that was begun is cleaned up."""


class _Handler:
    def __init__(self) -> None:
        self._first: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # Python defines the signature
        if self._first is None:
            self._first = time.monotonic()
            raise Terminated(number)
        if time.monotonic() - self._first > _GRACE:
            _die(number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn the signals into ``Terminated`` within, and let them end the process once that is out.

    For the command line only, which owns its process. A signal that is ignored, as with nohup, stays ignored.
    """
    handler = _Handler()
    for number in _NUMBERS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, handler)
    try:
        yield
    except Terminated as ending:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the terminal may be gone
                stream.flush()
        _die(int(str(ending)))


def _die(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
