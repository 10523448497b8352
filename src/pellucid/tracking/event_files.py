"""What TensorBoard's event files hold already: an entry that was written just before a crash is not written again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "*.tfevents.*"
MARGIN = 3600.0
"""Seconds by which clocks and time stamps of files may differ."""

Point = tuple[str, int, float]
"""A tag, a step, and the time at which it was logged, in seconds since 1970."""


class Written:
    """The points of the event files that are in a folder now, read when they are first asked for.

    A process that resumes a run has nothing but these to tell what a killed one has written: its ledger is appended
    afterwards. Files that were last written before the first entry that is asked for hold none of it, and are not read.
    """

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob(NAME)) if folder.is_dir() else []
        self._points: frozenset[Point] | None = None

    def has(self, tag: str, step: int, time: float) -> bool:
        """Whether a point is there: one with the same tag, step and time."""
        if self._points is None:
            recent = [path for path in self._files if path.stat().st_mtime >= time - MARGIN]
            self._points = frozenset(point for path in recent for point in points_in(path))
        return (tag, step, time) in self._points


def points_in(path: Path) -> Iterator[Point]:
    """Yield the points of an event file, as far as it is whole: a killed process may have left half of the last one."""
    for event in _events(path):
        for value in event.summary.value:
            yield value.tag, event.step, event.wall_time


def _events(path: Path) -> Iterator[Any]:
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    for record in RawEventFileLoader(str(path)).Load():
        try:
            yield Event.FromString(record)
        except DecodeError:
            return
