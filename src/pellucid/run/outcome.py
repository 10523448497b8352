"""What a run reads and returns of one file: the image, and the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.reading import Reading
from pellucid.errors import PellucidError
from pellucid.export.earlier import Key, Record
from pellucid.run.inputs import Input


@dataclass(frozen=True)
class ReadImage:
    """An input file with its image, read and preprocessed; of a sequence, all of its images.

    ``key`` is that of its results.
    """

    file: Input
    images: tuple[Image, ...]
    key: Key

    @property
    def values(self) -> Tensor:
        """The network's input without the batch axis: (C, *space), or (S, C, H, W) of a sequence."""
        return torch.stack([one.values for one in self.images]) if self.file.members else self.images[0].values

    @property
    def weight(self) -> int:
        """The number of values that are held."""
        return sum(one.original.pixels.numel() + one.values.numel() for one in self.images)

    def parts(self, explanation: Explanation) -> Iterator[tuple[str, str, Image, Explanation]]:
        """The name, file, image and explanation of each image, from the explanation of this input."""
        if not self.file.members:
            yield self.file.stem.name, str(self.file.path), self.images[0], explanation
            return
        for number, (member, image) in enumerate(zip(self.file.members, self.images, strict=True)):
            name = f"{self.file.stem.name}_{member.stem.name}"
            yield name, str(member.path), image, explanation.member(number)


@dataclass(frozen=True)
class Outcome:
    """The outcome for one file. It holds no maps, as a long run keeps all outcomes."""

    path: Path
    prediction: Reading | None = None
    """What the model predicts; None of a file that failed."""
    explained: tuple[Reading, ...] = ()
    """The classes that the maps explain."""
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The layers that each method used."""
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """Why some requested formats could not be written for this file; the others were."""
    passed_over: bool = False
    """Whether all results of this request were already there, so that nothing was computed."""
    error: PellucidError | None = None

    def itself(self) -> Outcome:
        """The outcome itself, as a task that is already done."""
        return self


@dataclass(frozen=True)
class PassedOver:
    """A file whose results are already there."""

    outcome: Outcome
    record: Record
