"""What is written of a picture's explanations, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.errors import PellucidError
from pellucid.export import Case, find
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.run.inputs import Input


@dataclass(frozen=True)
class Picture:
    """A file as it was read and prepared, with its SHA-256."""

    file: Input
    image: Image
    digest: str


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

    def itself(self) -> Outcome:
        """The outcome, as a task that is done."""
        return self


@dataclass(frozen=True)
class Results:
    """Where results go, and what is written and drawn. ``facts`` are what the metadata say of the model."""

    output: Path
    formats: Sequence[str] = ("png",)
    alpha: float = 0.5
    colormap: str = "jet"
    overwrite: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def write(self, picture: Picture, index: int, found: Sequence[Explanation]) -> Outcome:
        """Write all results of a picture, the image ``index`` of what was ``found`` by each method, or none."""
        files: dict[str, bytes] = {}
        for explanation in found:
            method = explanation.method if len(found) > 1 else ""
            labels = _distinct([_fit_for_a_name(label) for label in _labels(explanation, index)])
            for column, label in enumerate(labels):
                name = "_".join([picture.file.place.name, *filter(None, [method, label])])
                files |= self._files(picture, name, explanation.one(index, column))
        path, folder = picture.file.path, self.output / picture.file.place.parent
        try:
            write(folder, files, self.overwrite)
        except PellucidError as error:
            return Outcome(path, error=error)
        chances = found[0].probabilities[index]
        predicted = int(chances.argmax())
        return Outcome(
            path,
            predicted,
            found[0].class_name(predicted),
            float(chances[predicted]),
            {explanation.method: explanation.layers for explanation in found},
            tuple(folder / name for name in files),
            tuple(_warnings(found, index)),
        )

    def _files(self, picture: Picture, name: str, one: Explanation) -> dict[str, bytes]:
        case = Case(name, picture.image, one, self.alpha, self.colormap)
        files = {key: content for format_ in self.formats for key, content in find(format_)(case).items()}
        return files | metadata(case, str(picture.file.path), picture.digest, self.facts, files)


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
