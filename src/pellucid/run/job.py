"""Explaining files: read, prepare, explain in batches, write. One bad file is told of, and the rest go on.

Threads read and write while the model explains. What takes long of it (decoding, drawing, compressing) lets other
threads run; processes would have to be started, and sent the pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from pellucid.core.image import Image
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.errors import (
    ImageError,
    LayerError,
    NoAttentionError,
    NoSpatialLayerError,
    OptionError,
    PellucidError,
    ShapeError,
    TargetError,
)
from pellucid.io.refusal import refused
from pellucid.models.preprocessing import Preprocessing, takes_volumes
from pellucid.run.explain import Explainer
from pellucid.run.inputs import Input, opened
from pellucid.run.prefetch import Bounds, Prefetcher
from pellucid.run.refusing import explained_refusals
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
    window: str | None = None
    frame: int | None = None

    def outcomes(self, files: Sequence[Input]) -> Iterator[Outcome]:
        """Explain files, a batch at a time, in their order; an outcome each.

        What would be the same for every file (a class or layer that the model does not have, say) ends the run.
        Python's filters of warnings are the whole process's: who calls this sets them, as the readers do not.
        """
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            bounds = Bounds(self.runtime.batch_size, _WORKERS, 2 * _MOST_NUMBERS)
            pictures = Prefetcher(pool, self._read, files, _weight, bounds)
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
            image = opened(file, self.window, self.frame)
            self._check(file, image)
            return Picture(file, self.preprocessing(image))
        except (ImageError, ShapeError) as error:
            return Outcome(file.path, error=error)

    def _check(self, file: Input, image: Image) -> None:
        """Refuse a volume for a model of pictures, and the other way round."""
        slices = image.pixels.shape[1] if image.pixels.ndim == 4 else 0
        if slices and not takes_volumes(self.model):
            cure = "give --as files" if file.slices else "give --frame"
            raise refused(file.path, f"it is a volume of {slices} slices, and the model takes pictures: {cure}")
        if not slices and takes_volumes(self.model):
            raise refused(file.path, "it is a picture, and the model takes volumes: give a folder of slices, or NIfTI")

    def _tasks(self, batch: Sequence[_Read]) -> list[_Task]:
        """Explain a batch, pictures of one shape at a time; what is left to do for each of its files."""
        groups: dict[torch.Size, list[Picture]] = {}
        for one in batch:
            if isinstance(one, Picture):
                groups.setdefault(one.image.values.shape, []).append(one)
        tasks = {shape: iter(self._explained(group)) for shape, group in groups.items()}
        return [next(tasks[one.image.values.shape]) if isinstance(one, Picture) else one.itself for one in batch]

    def _explained(self, group: Sequence[Picture]) -> list[_Task]:
        try:
            batch = torch.stack([picture.image.values for picture in group])
            with explained_refusals(batch):
                found = [self._explainer(method)(batch, self.targets) for method in self.methods]
        except _OF_THE_REQUEST:
            raise
        except PellucidError as error:
            return [partial(Outcome, picture.file.path, error=error) for picture in group]
        return [partial(self.results.write, picture, index, found) for index, picture in enumerate(group)]

    def _explainer(self, method: Method) -> Explainer:
        layers = self.layers if method.uses_layers else None
        return Explainer(self.model, method, layers=layers, fuse=self.fuse, classes=self.classes, runtime=self.runtime)


_OF_THE_REQUEST = (LayerError, NoAttentionError, NoSpatialLayerError, OptionError, TargetError)


def _weight(read: _Read) -> int:
    """How many numbers a picture holds."""
    return read.image.original.pixels.numel() + read.image.values.numel() if isinstance(read, Picture) else 0


def _last(task: _Task, after: Callable[[], None]) -> Outcome:
    """A task, and what is to be done after it."""
    try:
        return task()
    finally:
        after()


def _results(writing: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
    return (future.result() for future in writing)
