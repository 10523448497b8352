"""``trackers_of``: what goes on with the runs of a trainer's loggers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from pellucid.tracking.destination import DESTINATIONS, Destination
from pellucid.tracking.journaled import journaled
from pellucid.tracking.tracker import Parameter, Tracker


@runtime_checkable
class MetricsLogger(Protocol):
    """A logger that takes figures, as all of Lightning's do."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures at a step."""


class FiguresOnly:
    """A ``Tracker`` for a logger that takes no images, such as one that writes a table: it gets the figures alone.

    It is called in the thread that logs, as the trainer calls it.
    """

    def __init__(self, logger: MetricsLogger, prefix: str = "") -> None:
        self._logger, self._prefix = logger, prefix

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Nothing: the trainer has logged its own."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log figures at a step."""
        self._logger.log_metrics({f"{self._prefix}{name}": value for name, value in values.items()}, step)

    def image(self, key: str, image: Image.Image, step: int = 0) -> None:
        """Nothing."""

    def file(self, path: Path, folder: str = "") -> None:
        """Nothing."""

    def child(self, name: str) -> FiguresOnly:
        """The same logger, with the child's name before that of a figure."""
        return FiguresOnly(self._logger, f"{self._prefix}{name}/")

    def close(self) -> None:
        """Nothing: the trainer ends its loggers."""


class Several:
    """A ``Tracker`` that passes everything on to several."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Log what was chosen."""
        for one in self._trackers:
            one.parameters(values)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log figures at a step."""
        for one in self._trackers:
            one.metrics(values, step)

    def image(self, key: str, image: Image.Image, step: int = 0) -> None:
        """Log an image."""
        for one in self._trackers:
            one.image(key, image, step)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a copy of a file."""
        for one in self._trackers:
            one.file(path, folder)

    def child(self, name: str) -> Several:
        """A run within each."""
        return Several([one.child(name) for one in self._trackers])

    def close(self) -> None:
        """End each."""
        for one in self._trackers:
            one.close()


def trackers_of(loggers: Sequence[object], folder: Path | str) -> Tracker:
    """A tracker for all loggers of a trainer: it goes on with their runs, and does not end them.

    MLflow, TensorBoard and Weights & Biases get everything, from a journal in a new folder below ``folder``, by a
    thread each; a logger of another kind gets the figures, in the thread that logs, as from the trainer itself. What
    has no ``log_metrics`` gets nothing. Without a logger, images, figures and files are kept in the folder.

    Raises:
        WriteError: nothing can be written to the folder.
    """
    found = [(logger, next(_destinations(logger), None)) for logger in loggers]
    run = journaled(folder, "pellucid", [one for _, one in found if one is not None])
    others = [logger for logger, one in found if one is None and isinstance(logger, MetricsLogger)]
    return Several([run, *map(FiguresOnly, others)]) if others else run


def _destinations(logger: object) -> Iterator[Destination]:
    for cls in DESTINATIONS.registered().values():
        found = cls.takes(logger)
        if found is not None:
            yield found
