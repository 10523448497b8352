"""TensorBoard: event files in a folder. Images and figures have keys and steps; files are not shown, and left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from pellucid.core.optional import OptionalPackage
from pellucid.errors import TransferError, message_of
from pellucid.tracking.destination import Destination, Stamp, is_logger, register_destination
from pellucid.tracking.event_files import Written

TENSORBOARD = OptionalPackage("tensorboard")


@register_destination("tensorboard")
@dataclass(frozen=True)
class TensorBoard(Destination):
    """Event files in a folder, or the writer of a logger, which goes on with its run."""

    folder: str
    logger: Any = field(default=None, repr=False, compare=False)

    @property
    def where(self) -> str:
        """The folder."""
        return self.folder

    def facts(self) -> Mapping[str, str]:
        """The folder."""
        return {"folder": self.folder}

    @classmethod
    def remade(cls, facts: Mapping[str, str]) -> Self:
        """A destination with a writer of its own."""
        return cls(facts["folder"])

    @classmethod
    def takes(cls, logger: object) -> Self | None:
        """Go on with the event file of Lightning's ``TensorBoardLogger``."""
        return cls(str(getattr(logger, "log_dir", "")), logger) if is_logger(logger, "TensorBoardLogger") else None

    def connect(self) -> Events:
        """Open an event file, or take that of the logger."""
        try:
            written = Written(Path(self.folder))  # before the writer adds a file
            return Events(self._writer(), self.logger is None, written)
        except OSError as error:
            raise TransferError(f"{self.folder}: no event file can be written ({message_of(error)})", True) from None

    def _writer(self) -> Any:
        if self.logger is not None:
            return self.logger.experiment
        TENSORBOARD.load("a run in TensorBoard")
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder)


class Events:
    """An event file. A run within another one has its name before its keys; ids of runs are these beginnings.

    Each entry is on the disk when its call returns, since the ledger records it then. ``written`` are the files that
    were there before.
    """

    def __init__(self, writer: Any, is_own: bool, written: Written) -> None:
        self._writer, self._is_own, self._written = writer, is_own, written

    def begin(self, at: Stamp, name: str, parent: str | None) -> str:  # noqa: ARG002  # as in the others
        """What keys begin with: nothing in the outermost run."""
        return "" if parent is None else f"{parent}{name}/"

    def parameters(self, run: str, values: Mapping[str, str | int | float | bool]) -> None:
        """Add a text."""
        rows = "".join(f"| {name} | {value} |\n" for name, value in values.items())
        self._writer.add_text(f"{run}parameters", f"| | |\n| --- | --- |\n{rows}")
        self._writer.flush()

    def metrics(self, run: str, values: Mapping[str, float], step: int, at: Stamp) -> None:
        """Add figures at a step."""
        for name, value in values.items():
            if not self._written.has(f"{run}{name}", step, at.time / 1000):
                self._writer.add_scalar(f"{run}{name}", value, step, at.time / 1000)
        self._writer.flush()

    def image(self, run: str, key: str, path: Path, step: int, at: Stamp) -> None:
        """Add an image."""
        if self._written.has(f"{run}{key}", step, at.time / 1000):
            return
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image(f"{run}{key}", pixels, step, at.time / 1000, dataformats="HWC")
        self._writer.flush()

    def file(self, run: str, path: Path, name: str, folder: str) -> None:
        """Nothing: TensorBoard shows no files."""

    def end(self, run: str, status: str, at: Stamp) -> None:  # noqa: ARG002
        """Close the outermost run's own file."""
        if self._is_own and not run:
            self._writer.close()
