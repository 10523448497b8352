"""``JournaledRun``: a run that is written to the local disk, and sent from there to one or more destinations."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from PIL import Image

from pellucid.errors import warn
from pellucid.export.writing import write_error
from pellucid.tracking.contents import Begun, Content, Ended, LoggedFile, LoggedImage, Metrics, Parameters
from pellucid.tracking.destination import Destination
from pellucid.tracking.journal import Journal
from pellucid.tracking.sender import Sender
from pellucid.tracking.tracker import Parameter

PATIENCE = 5.0
"""Seconds that closing a run waits for what is still to be sent."""


class Recording:
    """A journal and the senders that read it: what the runs of one tracker share."""

    def __init__(self, folder: Path, destinations: Sequence[Destination]) -> None:
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self.folder = folder / f"{now}-{uuid4().hex[:8]}"
        header: dict[str, Any] = {"destinations": [[one.name, dict(one.facts())] for one in destinations]}
        try:
            self._journal = Journal(self.folder, header)
        except OSError as error:
            raise write_error(folder, error) from None
        self._senders = [Sender(self.folder, one) for one in destinations]
        self._has_failed = self._is_closed = False

    def add(self, run: str, make: Callable[[int], Content]) -> None:
        """Write an entry and wake the senders. A disk that is full must not end a training: it is warned of once."""
        try:
            self._journal.add(run, make)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                warn(f"{self.folder}: not everything of the run is kept ({error.strerror or error}): make room there")
        for sender in self._senders:
            sender.wake()

    def write(self, number: int, name: str, put: Callable[[Path], object]) -> str:
        """Write an entry's file into the folder, and return its name."""
        file = f"{number:06d}{PurePosixPath(name).suffix}"
        put(self.folder / file)
        return file

    def close(self) -> None:
        """Wait until everything is sent, for ``PATIENCE`` seconds in all; warn of what is not."""
        if self._is_closed:
            return
        self._is_closed = True
        self._journal.close()
        end = time.monotonic() + PATIENCE
        for sender in self._senders:
            sender.close()
        for sender in self._senders:
            sender.wait(end)
            self._report(sender)

    def _report(self, sender: Sender) -> None:
        where = sender.destination.where
        if not sender.is_done:
            warn(
                f"not everything of the run was sent to {where} ({sender.problem or 'it takes too long'}); it is kept: "
                f"send the rest with `pellucid mlflow sync {self.folder.parent}`"
            )
        elif sender.refused:
            number, reason = next(iter(sender.refused.items()))
            warn(f"{where} refused {len(sender.refused)} entries of the run, the first is number {number}: {reason}")


class JournaledRun:
    """A ``Tracker`` whose calls return when their content is on the local disk, in ``folder``; threads send it."""

    def __init__(self, recording: Recording, name: str, parent: str = "") -> None:
        self.id = uuid4().hex
        self._recording, self._parent = recording, parent
        self._known: set[str] = set()
        self._children: list[JournaledRun] = []
        self._is_closed = False
        recording.add(self.id, lambda _: Begun(name, parent))

    @property
    def folder(self) -> Path:
        """The folder of the journal, its images and files."""
        return self._recording.folder

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Log what was chosen; a name keeps its first value."""
        new = {name: value for name, value in values.items() if name not in self._known}
        self._known.update(new)
        if new:
            self._add(lambda _: Parameters(new))

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log figures at a step; one that is not finite is left out."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if finite:
            self._add(lambda _: Metrics(finite, int(step)))

    def image(self, key: str, image: Image.Image, step: int = 0) -> None:
        """Log an image under a key, at a step."""

        def make(number: int) -> LoggedImage:
            file = self._recording.write(number, "image.png", lambda path: image.save(path, format="PNG"))
            return LoggedImage(key, int(step), file)

        self._add(make)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a copy of a file, in a folder of the run's artifacts."""

        def make(number: int) -> LoggedFile:
            file = self._recording.write(number, path.name, lambda to: shutil.copyfile(path, to))
            return LoggedFile(path.name, folder, file)

        self._add(make)

    def child(self, name: str) -> JournaledRun:
        """A run within this one; closing this one closes it."""
        child = JournaledRun(self._recording, name, self.id)
        self._children.append(child)
        return child

    def close(self) -> None:
        """End the run, and those within it; the outermost one waits for what is still to be sent, at most 5 s."""
        if self._is_closed:
            return
        for child in self._children:
            child.close()
        self._add(lambda _: Ended("FINISHED"))
        self._is_closed = True
        if not self._parent:
            self._recording.close()

    def _add(self, make: Callable[[int], Content]) -> None:
        if not self._is_closed:
            self._recording.add(self.id, make)


def journaled(folder: Path | str, name: str, destinations: Sequence[Destination]) -> JournaledRun:
    """A new run in a new folder below ``folder``, sent to the destinations.

    Raises:
        WriteError: nothing can be written there.
    """
    return JournaledRun(Recording(Path(os.path.abspath(folder)), destinations), name)  # noqa: PTH100  # a link stays
