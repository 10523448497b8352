"""What is written of a picture's explanations, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.provenance import digest
from pellucid.errors import ExportError, PellucidError
from pellucid.export import Case, exported
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.models.sources import model_info
from pellucid.run.inputs import Input


@dataclass(frozen=True)
class Picture:
    """A file as it was read and prepared."""

    file: Input
    image: Image


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
    refused: tuple[str, ...] = ()
    """Why objects that were asked for could not be made of this file; the others were."""
    error: PellucidError | None = None

    def itself(self) -> Outcome:
        """The outcome, as a task that is done."""
        return self


@dataclass(frozen=True)
class Results:
    """Where results go, and what is written and drawn.

    ``facts`` are what the metadata say of the model; with ``keep_identity`` they say whom a DICOM file shows.
    """

    output: Path
    formats: Sequence[str] = ("png",)
    alpha: float = 0.5
    colormap: str = "jet"
    overwrite: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    keep_identity: bool = False

    def write(self, picture: Picture, index: int, found: Sequence[Explanation]) -> Outcome:
        """Write all results of a picture, the image ``index`` of what was ``found`` by each method, or none."""
        files: dict[str, bytes] = {}
        refused: list[ExportError] = []
        for explanation in found:
            name = "_".join([picture.file.place.name, *([explanation.method] if len(found) > 1 else [])])
            one = explanation.one(index)
            case = Case(name, picture.image, one, self.alpha, self.colormap, self.facts, self.keep_identity)
            own, why = exported(case, self.formats)
            files |= own | metadata(case, str(picture.file.path), own)
            refused += why
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
            (*_warnings(found, index), *_burned_in(picture.image)),
            tuple(map(str, refused)),
        )


def model_facts(model: nn.Module) -> dict[str, Any]:
    """What results say of their model: what it was asked for as, and which weights it has."""
    info = model_info(model)
    told = {"spec": info.spec, "weights": info.weights, "checkpoint_sha256": info.checkpoint_sha256}
    return told | {"weights_sha256": digest(model)}


def _warnings(explanations: Sequence[Explanation], image: int) -> Iterator[str]:
    for explanation in explanations:
        for column, reason in enumerate(explanation.why_degenerate[image]):
            if reason is not None:
                yield (
                    f"{explanation.method}: the map of class {explanation.label(image, column)} is empty ({reason}): "
                    f"{_REMEDIES[reason]}"
                )


def _burned_in(image: Image) -> Iterator[str]:
    if any(str(one.header.get("BurnedInAnnotation") or "") == "YES" for one in image.original.instances):
        yield "the file says that its pixels name the patient (Burned In Annotation), and so do pictures made of it"


_REMEDIES = {
    "all evidence negative": "nothing in the picture speaks for this class; try --target predicted; "
    "the negative evidence itself is kept by --method hirescam --export npz",
    "constant": "the layer does not tell places apart; try another --layer, and check that the weights were loaded",
    "not finite": "the picture or the weights hold values that are no numbers; check both, and the precision",
}
