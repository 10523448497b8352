"""Explain files: read, prepare, explain in batches, write. An error in one file is reported, and the rest go on.

Threads read and write while the model explains. Threads suffice, since the slow steps (decoding, drawing, compressing)
release the interpreter lock; processes would have to be started and sent the images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.errors import (
    LayerError,
    NoAttentionError,
    NoSpatialLayerError,
    OptionError,
    OutputError,
    PellucidError,
    TargetError,
)
from pellucid.io.refusal import broken, refused
from pellucid.io.selection import Select
from pellucid.models.preprocessing import Preprocessing, takes_volumes
from pellucid.run.explain import Explainer
from pellucid.run.inputs import Input, open_input
from pellucid.run.prefetch import Bounds, Prefetcher
from pellucid.run.refusing import explained_refusals
from pellucid.run.results import Outcome, ReadImage, Results

_Read = ReadImage | Outcome
"""An image, or the outcome of a file that could not be read."""
_Task = Callable[[], Outcome]
_MAX_VALUES = 2**26
"""The most values in a batch's images, 256 MiB: larger images go through in smaller batches."""
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
    checks: Sequence[str] = ()
    classes: Sequence[str] | None = None
    head: str = "auto"
    runtime: Runtime = field(default_factory=Runtime)
    window: str | None = None
    frame: int | None = None
    select: Select = field(default_factory=dict)

    def outcomes(self, files: Sequence[Input]) -> Iterator[Outcome]:
        """Explain files in batches, and yield an outcome per file, in order.

        Errors of the request (a class or layer that the model does not have) end the run, unless images of another
        size were explained: then they are the file's. All other errors are the file's. Python's
        warning filters belong to the whole process, so the caller sets them; the reading threads do not.

        Raises:
            PellucidError: an error of the request, not of a file.
        """
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            bounds = Bounds(self.runtime.batch_size, _WORKERS, 2 * _MAX_VALUES)
            images = Prefetcher(pool, self._read, files, _weight, bounds)
            writing: list[Future[Outcome]] = []
            explained: set[torch.Size] = set()
            for batch in self._batches(images):
                tasks = self._tasks(batch, explained)
                # The maps of two batches are held at most: one is written while the next is computed.
                yield from _finished(writing)
                pairs = zip(batch, tasks, strict=True)
                writing = [pool.submit(_then, task, partial(images.release, read)) for read, task in pairs]
            yield from _finished(writing)
        finally:
            pool.shutdown(cancel_futures=True)

    def _batches(self, images: Iterable[_Read]) -> Iterator[list[_Read]]:
        batch: list[_Read] = []
        for image in images:
            batch.append(image)
            if len(batch) == self.runtime.batch_size or sum(map(_weight, batch)) > _MAX_VALUES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _read(self, file: Input) -> _Read:
        try:
            takes = takes_volumes(self.model) and not file.members
            images = [self._prepared(one, takes) for one in file.members or (file,)]
            _check_sizes(file, images)
        except OptionError:
            raise
        except PellucidError as error:
            return Outcome(file.path, error=error)
        except Exception as error:  # one bad file never ends a run
            return Outcome(file.path, error=refused(file.path, broken(error)))
        return ReadImage(file, tuple(images))

    def _prepared(self, file: Input, takes_a_volume: bool) -> Image:
        """The image of a file, prepared; a volume for a 2-D model and a 2-D image for one of volumes are refused."""
        image = open_input(file, self.window, self.frame, self.select)
        slices = image.pixels.shape[1] if image.pixels.ndim == 4 else 0
        if slices and not takes_a_volume:
            cure = "give --as files" if file.slices else "give --frame"
            raise refused(file.path, f"it is a volume of {slices} slices, and the model takes 2-D images: {cure}")
        if not slices and takes_a_volume:
            raise refused(
                file.path, "it is a 2-D image, and the model takes volumes: give a folder of slices, or NIfTI"
            )
        return self.preprocessing(image)

    def _tasks(self, batch: Sequence[_Read], explained: set[torch.Size]) -> list[_Task]:
        """Explain a batch, grouped by the images' shape; return a task per file that writes its results.

        ``explained`` are the shapes that were explained; those of this batch are added.
        """
        groups: dict[torch.Size, list[ReadImage]] = {}
        for one in batch:
            if isinstance(one, ReadImage):
                groups.setdefault(one.values.shape, []).append(one)
        tasks: dict[torch.Size, Iterator[_Task]] = {}
        errors: list[PellucidError] = []
        for shape, group in groups.items():
            try:
                tasks[shape] = iter(self._group_tasks(group))
                explained.add(shape)
            except _REQUEST_ERRORS as error:
                tasks[shape] = iter(_failed(group, error))
                errors.append(error)
        if errors and not explained:
            raise errors[0]
        return [next(tasks[one.values.shape]) if isinstance(one, ReadImage) else one.itself for one in batch]

    def _group_tasks(self, group: Sequence[ReadImage]) -> list[_Task]:
        try:
            batch = torch.stack([read.values for read in group])
            found = self._of_sequences(batch) if group[0].file.members else self._found(batch)
        except _REQUEST_ERRORS:
            raise
        except PellucidError as error:
            return _failed(group, error)
        return [partial(self.results.write, read, index, found) for index, read in enumerate(group)]

    def _found(self, batch: Tensor) -> list[Explanation]:
        with explained_refusals(batch):
            return [self._explainer(method)(batch, self.targets) for method in self.methods]

    def _of_sequences(self, batch: Tensor) -> list[Explanation]:
        """The explanations of sequences (B, S, C, H, W); grey ones are also tried as stacks (B, S, H, W)."""
        try:
            found = self._found(batch)
        except OutputError as error:
            if batch.shape[2] != 1:
                raise OutputError(f"{error}, or leave out --as sequence") from error
            found = self._found(batch.squeeze(2))
        if not found[0].is_sequence:
            raise OptionError(
                "--as sequence was given; the model does not take the images one by one, but as channels or slices of "
                "one image: give --channels, --as volume or --as files"
            )
        return found

    def _explainer(self, method: Method) -> Explainer:
        layers = self.layers if method.uses_layers else None
        return Explainer(
            self.model,
            method,
            layers=layers,
            fuse=self.fuse,
            checks=self.checks,
            classes=self.classes,
            head=self.head,
            runtime=self.runtime,
        )


_REQUEST_ERRORS = (LayerError, NoAttentionError, NoSpatialLayerError, OptionError, TargetError)


def _failed(group: Sequence[ReadImage], error: PellucidError) -> list[_Task]:
    return [partial(Outcome, read.file.path, error=error) for read in group]


def _check_sizes(file: Input, images: Sequence[Image]) -> None:
    """Refuse a sequence of images of several sizes."""
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        raise refused(
            file.path, f"the images of a sequence have one size, and these have {sizes[0]} and {sizes[-1]}: give --size"
        )


def _weight(read: _Read) -> int:
    """The number of values that an image holds; 0 for an outcome."""
    return read.weight if isinstance(read, ReadImage) else 0


def _then(task: _Task, after: Callable[[], None]) -> Outcome:
    """Run a task, and ``after`` in any case."""
    try:
        return task()
    finally:
        after()


def _finished(writing: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
    return (future.result() for future in writing)
