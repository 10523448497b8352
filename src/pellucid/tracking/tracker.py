"""``Tracker``: where the figures, images and files of a run are logged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from PIL import Image

Parameter = str | int | float | bool


class Tracker(Protocol):
    """A run that is logged. No call waits for a server, and none raises because one is not reachable.

    Every call returns when its content is on the local disk, or in memory for a tracker that keeps nothing. What a
    server has not received when the tracker is closed stays on disk.
    """

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Log what was chosen: method, layers, digests. A name keeps its first value."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log figures at a step, such as an epoch; one that is not finite is left out."""

    def image(self, key: str, image: Image.Image, step: int = 0) -> None:
        """Log an image under a key, such as ``case-3/gradcam``, at a step."""

    def file(self, path: Path, folder: str = "") -> None:
        """Log a copy of a file, in a folder of the run's artifacts."""

    def child(self, name: str) -> Tracker:
        """A run within this one, such as one of several methods; closing this one closes it."""

    def close(self) -> None:
        """End the run; wait at most five seconds for what is still to be sent."""
