"""Explain files: read, prepare, explain in batches, write. An error in one file is reported, and the rest go on.

Threads read and write while the model explains. Threads suffice, since the slow steps (decoding, drawing, compressing)
release the interpreter lock; processes would have to be started and sent the images.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import PurePath

import torch
from torch import Tensor, nn

from pellucid.core.choice import Choice
from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.method import Method
from pellucid.core.runtime import AUTO, Runtime
from pellucid.core.target import Request
from pellucid.errors import (
    DiskFullError,
    LayerError,
    NoAttentionError,
    NoSpatialLayerError,
    OptionError,
    OutputError,
    PellucidError,
    ShapeError,
    TargetError,
)
from pellucid.export.drafts import sweep
from pellucid.export.earlier import EarlierSet, Key
from pellucid.io.refusal import broken, refused
from pellucid.io.selection import Select
from pellucid.models.preprocessing import Preprocessing, takes_volumes
from pellucid.models.sources import model_info
from pellucid.run.explainer import Explainer
from pellucid.run.inputs import Input, input_digest, open_input
from pellucid.run.outcome import Outcome, PassedOver, ReadImage
from pellucid.run.prefetch import Bounds, Prefetcher
from pellucid.run.refusing import explained_refusals
from pellucid.run.request import request_key
from pellucid.run.results import Results

_Read = ReadImage | PassedOver | Outcome
"""An image, a file that is passed over, or the outcome of a file that could not be read."""
_Slot = tuple[Input, _Read]
_Task = Callable[[], Outcome]
_MAX_VALUES = 2**26
"""The most values in a batch's images, 256 MiB: larger images go through in smaller batches."""
_WORKERS = max(2, min(8, os.cpu_count() or 1))


@dataclass(frozen=True)
class Job:
    """The settings that all files of a run share; ``outcomes`` does the work.

    ``labels``: what the user states of inputs, by their stems. ``by_choice`` are the names of the methods whose layers
    are those of ``choice``; None is the one that is kept for these weights.
    """

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
    labels: Mapping[PurePath, Mapping[str, str]] = field(default_factory=dict)
    choice: Choice | None = None
    by_choice: frozenset[str] = frozenset()

    def outcomes(self, files: Sequence[Input]) -> Iterator[Outcome]:
        """Explain files in batches, and yield an outcome per file, in order.

        What an earlier run has finished, with the same request of the same files, is passed over, unless
        ``results.overwrite``; what it has left half-written is removed. Images go through the network in the batches
        that they would be in if nothing had been finished, so that the results are the same.

        Errors of the request (a class or layer that the model does not have) end the run, unless images of another
        size were explained: then they are the file's. All other errors are the file's. Python's
        warning filters belong to the whole process, so the caller sets them; the reading threads do not.

        Raises:
            OutputExistsError: there are results of another request for one of the files.
            DiskFullError: there is no room for results.
            PellucidError: another error of the request, not of a file.
        """
        sweep(self.results.output)
        earlier = self.results.resuming.sets(files, self._request)
        pool = ThreadPoolExecutor(_WORKERS)
        try:
            bounds = Bounds(self.runtime.batch_size, _WORKERS, 2 * _MAX_VALUES)
            images = Prefetcher(pool, partial(self._read, earlier), files, _weight, bounds)
            writing: list[Future[Outcome]] = []
            explained: set[torch.Size] = set()
            for batch in self._batches(zip(files, images, strict=True)):
                tasks = self._tasks(batch, explained)
                # The maps of two batches are held at most: one is written while the next is computed.
                yield from _finished(writing)
                pairs = zip(batch, tasks, strict=True)
                writing = [pool.submit(_then, task, partial(images.release, read)) for (_, read), task in pairs]
            yield from _finished(writing)
        finally:
            pool.shutdown(cancel_futures=True)

    @property
    def class_names(self) -> Sequence[str] | None:
        """The names of the model's classes, where they are known."""
        return self.classes if self.classes is not None else model_info(self.model).classes

    @cached_property
    def _request(self) -> Key:
        """What the keys of all sets have in common."""
        return request_key(self)

    def _batches(self, slots: Iterable[_Slot]) -> Iterator[list[_Slot]]:
        """Consecutive files; those that are passed over count as if they were explained."""
        batch: list[_Slot] = []
        for slot in slots:
            batch.append(slot)
            if len(batch) == self.runtime.batch_size or sum(_full_weight(read) for _, read in batch) > _MAX_VALUES:
                yield batch
                batch = []
        if batch:
            yield batch

    def _read(self, earlier: Mapping[PurePath, EarlierSet], file: Input) -> _Read:
        try:
            found = earlier.get(file.stem)
            known = input_digest(file) if found is not None and not self.results.overwrite else None
            if found is not None and known is not None:
                key = self.results.resuming.key(known, self._request)
                done = self.results.resuming.passed_over(file, found, key, self.labels.get(file.stem))
                if done is not None:
                    return done
            takes = takes_volumes(self.model) and not file.members
            images = [self._prepared(one, takes) for one in file.members or (file,)]
            _check_sizes(file, images)
            known = known or (images[0].original.digest if file.is_single else input_digest(file))
            if known is None:
                raise refused(file.path, "one of its files went away while they were read")
            return ReadImage(file, tuple(images), self.results.resuming.key(known, self._request))
        except OptionError:
            raise
        except PellucidError as error:
            return Outcome(file.path, error=error)
        except Exception as error:  # one bad file never ends a run
            return Outcome(file.path, error=refused(file.path, broken(error)))

    def _prepared(self, file: Input, takes_a_volume: bool) -> Image:
        """The image of a file, prepared; a volume for a 2-D model and a 2-D image for one of volumes are refused."""
        image = open_input(file, self.window, self.frame, self.select)
        slices = image.pixels.shape[1] if image.pixels.ndim == 4 else 0
        if slices and not takes_a_volume:
            cure = "give --as files" if file.slices else "give frame="
            raise refused(file.path, f"it is a volume of {slices} slices, and the model takes 2-D images: {cure}")
        if not slices and takes_a_volume:
            raise refused(
                file.path, "it is a 2-D image, and the model takes volumes: give a folder of slices, or NIfTI"
            )
        return self.preprocessing(image)

    def _tasks(self, batch: Sequence[_Slot], explained: set[torch.Size]) -> list[_Task]:
        """Explain a batch, grouped by the images' shape; return a task per file that writes its results.

        ``explained`` are the shapes that were explained; those of this batch are added.
        """
        name = hashlib.sha256("\n".join(str(file.stem) for file, _ in batch).encode("utf-8", "replace")).hexdigest()
        tasks: dict[torch.Size, Iterator[_Task]] = {}
        errors: list[PellucidError] = []
        for shape, group in _groups([read for _, read in batch], name).items():
            try:
                tasks[shape] = iter(self._group_tasks(group, name))
                explained.add(shape)
            except _REQUEST_ERRORS as error:
                tasks[shape] = iter(_failed(group, error))
                errors.append(error)
        if errors and not explained:
            raise errors[0]
        return [
            _outcome_of(read).itself if not isinstance(read, ReadImage) else next(tasks[read.values.shape])
            for _, read in batch
        ]

    def _group_tasks(self, group: Sequence[ReadImage | PassedOver], batch: str) -> list[_Task]:
        """Explain images of one shape. In place of one that is passed over, the batch has another one once more.

        A row of a batch depends on the number of rows, by rounding, and on its own, by random numbers.
        """
        reads = {index: read for index, read in enumerate(group) if isinstance(read, ReadImage)}
        first = next(iter(reads.values()))
        try:
            values = torch.stack([reads.get(index, first).values for index in range(len(group))])
            found = self._of_sequences(values) if first.file.members else self._found(values)
        except _REQUEST_ERRORS:
            raise
        except PellucidError as error:
            return _failed(group, error)
        return [
            partial(self.results.write, read, index, found, batch, self.labels.get(read.file.stem))
            for index, read in reads.items()
        ]

    def _found(self, batch: Tensor) -> list[Explanation]:
        with explained_refusals(batch):
            return [self._explainer(method)(batch, self.targets) for method in self.methods]

    def _of_sequences(self, batch: Tensor) -> list[Explanation]:
        """The explanations of sequences (B, S, C, H, W); grey ones are also tried as stacks (B, S, H, W)."""
        try:
            found = self._found(batch)
        except (OutputError, ShapeError) as error:
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
        is_chosen = method.name in self.by_choice
        layers = self.layers if method.uses_layers else None
        return Explainer(
            self.model,
            method,
            layers=AUTO if is_chosen else layers,
            choice=self.choice if is_chosen else None,
            fuse=self.fuse,
            checks=self.checks,
            classes=self.classes,
            head=self.head,
            runtime=self.runtime,
        )


_REQUEST_ERRORS = (LayerError, NoAttentionError, NoSpatialLayerError, OptionError, TargetError)


def _groups(batch: Sequence[_Read], name: str) -> dict[torch.Size, list[ReadImage | PassedOver]]:
    """The images of a batch by their shape, each shape with an image that has to be explained.

    Those that are passed over are among them where they were explained in this same batch.
    """
    groups: dict[torch.Size, list[ReadImage | PassedOver]] = {}
    for read in batch:
        if isinstance(read, ReadImage):
            groups.setdefault(read.values.shape, []).append(read)
        elif isinstance(read, PassedOver) and read.record.batch == name:
            groups.setdefault(torch.Size(read.record.shape), []).append(read)
    return {shape: group for shape, group in groups.items() if any(isinstance(read, ReadImage) for read in group)}


def _failed(group: Sequence[ReadImage | PassedOver], error: PellucidError) -> list[_Task]:
    return [partial(Outcome, read.file.path, error=error) for read in group if isinstance(read, ReadImage)]


def _outcome_of(read: PassedOver | Outcome) -> Outcome:
    return read.outcome if isinstance(read, PassedOver) else read


def _check_sizes(file: Input, images: Sequence[Image]) -> None:
    """Refuse a sequence of images of several sizes."""
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        raise refused(
            file.path, f"the images of a sequence have one size, and these have {sizes[0]} and {sizes[-1]}: give --size"
        )


def _weight(read: _Read) -> int:
    """The number of values that an image holds; 0 for a file of which nothing was read."""
    return read.weight if isinstance(read, ReadImage) else 0


def _full_weight(read: _Read) -> int:
    """The number of values that an image would hold if its results were not there."""
    return read.record.weight if isinstance(read, PassedOver) else _weight(read)


def _then(task: _Task, after: Callable[[], None]) -> Outcome:
    """Run a task, and ``after`` in any case."""
    try:
        return task()
    finally:
        after()


def _finished(writing: Iterable[Future[Outcome]]) -> Iterator[Outcome]:
    """The outcomes, in order. ``DiskFullError``: a result found no room, and no further one would."""
    for future in writing:
        outcome = future.result()
        if isinstance(outcome.error, DiskFullError):
            raise outcome.error
        yield outcome
