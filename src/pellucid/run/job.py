"""Explaining files: read, prepare, explain in batches, write. One bad file is told of, and the rest go on."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pellucid.core.explanation import Explanation
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
    OutputError,
    PellucidError,
    ShapeError,
    TargetError,
)
from pellucid.export import Case, find
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.io import read_image
from pellucid.models.preprocessing import Preprocessing
from pellucid.run.explain import Explainer
from pellucid.run.inputs import Input

_Read = tuple[Input, Image | None, PellucidError | None]
_MOST_PIXELS = 2**27
"""Numbers of a batch's original pictures held at a time, 512 MiB: large ones go through in smaller batches."""


@dataclass(frozen=True)
class Outcome:
    """What came of one file, without its maps: of a long run, only this is kept."""

    path: Path
    predicted: int = -1
    name: str = ""
    """The predicted class's name; its number where names are not known."""
    confidence: float = math.nan
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What each method looked at."""
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    error: PellucidError | None = None


@dataclass(frozen=True)
class Job:
    """The settings that all files of a run share; ``outcomes`` does the work."""

    model: nn.Module
    methods: Sequence[Method]
    preprocessing: Preprocessing
    output: Path
    targets: Request = "predicted"
    layers: Sequence[str] | None = None
    fuse: str = "mean"
    classes: Sequence[str] | None = None
    formats: Sequence[str] = ("png",)
    alpha: float = 0.5
    colormap: str = "jet"
    overwrite: bool = False
    runtime: Runtime = field(default_factory=Runtime)
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the metadata say of the model."""

    def outcomes(self, files: Sequence[Input]) -> Iterator[Outcome]:
        """Explain files, a batch at a time, in their order; an outcome each.

        What would be the same for every file (a class or layer that the model does not have, say) ends the run.
        """
        read: list[_Read] = []
        for file in files:
            read.append((file, *_read(file, self.preprocessing)))
            pixels = sum(image.original.pixels.numel() for _, image, _ in read if image is not None)
            if len(read) == self.runtime.batch_size or pixels > _MOST_PIXELS:
                yield from self._batch(read)
                read = []
        yield from self._batch(read)

    def _batch(self, read: Sequence[_Read]) -> Iterator[Outcome]:
        groups = _of_one_shape([(file, image) for file, image, _ in read if image is not None])
        explained = chain.from_iterable(self._explained(group) for group in groups)
        for file, _, error in read:
            yield next(explained) if error is None else Outcome(file.path, error=error)

    def _explained(self, group: Sequence[tuple[Input, Image]]) -> Iterator[Outcome]:
        batch = torch.stack([image.values for _, image in group])
        try:
            found = [self._explainer(method)(batch, self.targets) for method in self.methods]
        except _OF_THE_REQUEST:
            raise
        except PellucidError as error:
            yield from (Outcome(file.path, error=error) for file, _ in group)
            return
        except _REFUSALS as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            memory = isinstance(error, torch.OutOfMemoryError)
            cure = "take a smaller --batch-size" if memory else "check its preprocessing"
            text = f"the model failed on pictures of shape {tuple(batch.shape[1:])} ({reason}): {cure}"
            yield from (Outcome(file.path, error=OutputError(text)) for file, _ in group)
            return
        for index, (file, image) in enumerate(group):
            yield self._written(file, image, index, found)

    def _explainer(self, method: Method) -> Explainer:
        layers = self.layers if method.uses_layers else None
        return Explainer(self.model, method, layers, self.fuse, self.classes, runtime=self.runtime)

    def _written(self, file: Input, image: Image, index: int, found: Sequence[Explanation]) -> Outcome:
        """Write one file's results, all of them or none."""
        files: dict[str, bytes] = {}
        for explanation in found:
            labels = _distinct([_fit_for_a_name(label) for label in _labels(explanation, index)])
            for column, label in enumerate(labels):
                files |= self._files(file, image, explanation.one(index, column), label)
        folder = self.output / file.place.parent
        try:
            write(folder, files, self.overwrite)
        except PellucidError as error:
            return Outcome(file.path, error=error)
        chances = found[0].probabilities[index]
        predicted = int(chances.argmax())
        return Outcome(
            file.path,
            predicted,
            found[0].class_name(predicted),
            float(chances[predicted]),
            {explanation.method: explanation.layers for explanation in found},
            tuple(folder / name for name in files),
            tuple(_warnings(found, index)),
        )

    def _files(self, file: Input, image: Image, one: Explanation, label: str) -> dict[str, bytes]:
        parts = [one.method if len(self.methods) > 1 else "", label]
        name = "_".join([file.place.name, *filter(None, parts)])
        case = Case(name, image, one, self.alpha, self.colormap)
        files = {key: content for format_ in self.formats for key, content in find(format_)(case).items()}
        return files | metadata(case, str(file.path), _digest(file.path), self.facts, files)


_OF_THE_REQUEST = (LayerError, NoAttentionError, NoSpatialLayerError, OptionError, TargetError)
_REFUSALS = (RuntimeError, ValueError, AssertionError, TypeError, IndexError)
"""What networks raise on pictures of a size or with channels that they do not take."""


def _read(file: Input, preprocessing: Preprocessing) -> tuple[Image | None, PellucidError | None]:
    try:
        return preprocessing(read_image(file.path)), None
    except (ImageError, ShapeError) as error:
        return None, error


def _of_one_shape(images: Sequence[tuple[Input, Image]]) -> Iterator[list[tuple[Input, Image]]]:
    """Groups that fit into one tensor each, in order."""
    group: list[tuple[Input, Image]] = []
    for item in images:
        if group and group[-1][1].values.shape != item[1].values.shape:
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _warnings(explanations: Sequence[Explanation], image: int) -> Iterator[str]:
    for explanation in explanations:
        for column, reason in enumerate(explanation.why_degenerate[image]):
            if reason is not None:
                yield (
                    f"{explanation.method}: the map of class {explanation.label(image, column)} is empty ({reason}): "
                    f"{_REMEDIES[reason]}"
                )


_REMEDIES = {
    "all evidence negative": "nothing in the picture speaks for this class; try --target predicted; "
    "the negative evidence itself is kept by --method hirescam --export npz",
    "constant": "the layer does not tell places apart; try another --layer, and check that the weights were loaded",
    "not finite": "the picture or the weights hold values that are no numbers; check both, and the precision",
}


def _labels(explanation: Explanation, image: int) -> list[str]:
    """What tells an image's maps apart; nothing where there is one."""
    count = explanation.targets.shape[1]
    return [explanation.label(image, column) for column in range(count)] if count > 1 else [""]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which no two are alike where case is ignored: their places are added where they would be."""
    counts = Counter(name.casefold() for name in names)
    return [f"{i}-{name}" if counts[name.casefold()] > 1 else name for i, name in enumerate(names)]


_LONGEST_LABEL = 60


def _fit_for_a_name(text: str) -> str:
    """A class's or method's name as a part of a file's name."""
    return "".join(char if char.isalnum() or char in "+-_." else "-" for char in text)[:_LONGEST_LABEL]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
