"""Explaining files: read, prepare, explain in batches, write. One bad file is told of, and the rest go on.

Threads read and write while the model explains. What takes long of it (decoding, drawing, compressing) lets other
threads run; processes would have to be started, and sent the pictures.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.errors import (
    ImageError,
    LayerError,
    NoAttentionError,
    NoSpatialLayerError,
    OptionError,
    OutputError,
    PellucidError,
    ShapeError,
    TargetError,
    is_out_of_memory,
)
from pellucid.io import read
from pellucid.models.preprocessing import Preprocessing
from pellucid.run.ahead import Ahead, Bounds
from pellucid.run.explain import Explainer
from pellucid.run.inputs import Input
from pellucid.run.results import Outcome, Picture, Results

_Read = Picture | Outcome
"""A picture, or what became of a file that holds none."""
_Task = Callable[[], Outcome]
_MOST_NUMBERS = 2**26
"""Numbers of a batch's pictures, 256 MiB: large ones go through in smaller batches."""
_WORKERS = max(2, min(8, os.cpu_count() or 1))


@dataclass(frozen=True)
class Job:
    """The settings that all files of a run share; ``outcomes`` does the work."""

    model: nn.Module
    methods: Sequence[Method]
    preprocessing: Preprocessing
    results: Results
    targets: Request = "predicted"
    layers: Sequence[str] | None = None
    fuse: str = "mean"
    classes: Sequence[str] | None = None
    runtime: Runtime = field(default_factory=Runtime)

    def outcomes(self, files: Sequence[Input]) -> Iterator[Outcome]:
        """Explain files, a batch at a time, in their order; an outcome each.

        What would be the same for every file (a class or layer that the model does not have, say) ends the run.
        Python's filters of warnings are the whole process's: who calls this sets them, as the readers do not.
        """
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            bounds = Bounds(self.runtime.batch_size, _WORKERS, 2 * _MOST_NUMBERS)
            pictures = Ahead(pool, self._read, files, _weight, bounds)
            writing: list[Future[Outcome]] = []
            for batch in self._batches(pictures):
                tasks = self._tasks(batch)
                # One batch's maps are held while they are written, and one's while they are computed.
                yield from _results(writing)
                pairs = zip(batch, tasks, strict=True)
                writing = [pool.submit(_last, task, partial(pictures.release, read)) for read, task in pairs]
            yield from _results(writing)
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(self, pictures: Iterable[_Read]) -> Iterator[list[_Read]]:
        batch: list[_Read] = []
        for picture in pictures:
            batch.append(picture)
            if len(batch) == self.runtime.batch_size or sum(map(_weight, batch)) > _MOST_NUMBERS:
                yield batch
                batch = []
        if batch:
            yield batch

    def _read(self, file: Input) -> _Read:
        try:
            return Picture(file, self.preprocessing(read(file.path)), _digest(file.path))
        except (ImageError, ShapeError) as error:
            return Outcome(file.path, error=error)

    def _tasks(self, batch: Sequence[_Read]) -> list[_Task]:
        """Explain a batch, pictures of one shape at a time; what is left to do for each of its files."""
        tasks: dict[Path, _Task] = {
            outcome.path: partial(_same, outcome) for outcome in batch if isinstance(outcome, Outcome)
        }
        groups: dict[torch.Size, list[Picture]] = {}
        for picture in batch:
            if isinstance(picture, Picture):
                groups.setdefault(picture.image.values.shape, []).append(picture)
        for group in groups.values():
            tasks |= zip((picture.file.path for picture in group), self._explained(group), strict=True)
        return [tasks[one.file.path if isinstance(one, Picture) else one.path] for one in batch]

    def _explained(self, group: Sequence[Picture]) -> list[_Task]:
        try:
            found = self._found(torch.stack([picture.image.values for picture in group]))
        except _OF_THE_REQUEST:
            raise
        except PellucidError as error:
            return [partial(Outcome, picture.file.path, error=error) for picture in group]
        return [partial(self.results.write, picture, index, found) for index, picture in enumerate(group)]

    def _found(self, batch: Tensor) -> list[Explanation]:
        """What each method finds."""
        try:
            return [self._explainer(method)(batch, self.targets) for method in self.methods]
        except _REFUSALS as error:
            if isinstance(error, PellucidError):
                raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            memory = is_out_of_memory(error)
            cure = "take a smaller --batch-size" if memory else "check its preprocessing"
            shape = tuple(batch.shape[1:])
            raise OutputError(f"the model failed on pictures of shape {shape} ({reason}): {cure}") from error

    def _explainer(self, method: Method) -> Explainer:
        layers = self.layers if method.uses_layers else None
        return Explainer(self.model, method, layers, self.fuse, self.classes, runtime=self.runtime)


_OF_THE_REQUEST = (LayerError, NoAttentionError, NoSpatialLayerError, OptionError, TargetError)
_REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError)
"""What networks raise on pictures of a size or with channels that they do not take."""


def _weight(read: _Read) -> int:
    """How many numbers a picture holds."""
    return read.image.original.pixels.numel() + read.image.values.numel() if isinstance(read, Picture) else 0


def _same(outcome: Outcome) -> Outcome:
    return outcome


def _last(task: _Task, after: Callable[[], None]) -> Outcome:
    """A task, and what is to be done after it."""
    try:
        return task()
    finally:
        after()


def _results(writing: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
    return (future.result() for future in writing)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
