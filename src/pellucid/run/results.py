"""Write the results of one image, and report the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.provenance import digest
from pellucid.core.reading import Reading
from pellucid.core.shown import why_empty
from pellucid.core.style import Style
from pellucid.errors import ExportError, PellucidError, WriteError, is_out_of_memory
from pellucid.export import Case, exported
from pellucid.export.deidentify import Deidentifier
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.models.sources import model_info
from pellucid.run.inputs import Input


@dataclass(frozen=True)
class ReadImage:
    """An input file with its image, read and preprocessed; of a sequence, all of its images."""

    file: Input
    images: tuple[Image, ...]

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
    error: PellucidError | None = None

    def itself(self) -> Outcome:
        """The outcome itself, as a task that is already done."""
        return self


@dataclass(frozen=True)
class Results:
    """The settings for writing results.

    ``output`` is the folder, ``formats`` are the names of exporters. ``facts`` describe the model in the metadata.
    With ``keep_identity`` the metadata name the patient and study of a DICOM file. Images in the folder ``hidden``,
    a temporary one, are named relative to it. ``deidentifier`` removes the identity from DICOM results.
    ``allow_seg_without_geometry``: see ``Case``.
    """

    output: Path
    formats: Sequence[str] = ("png",)
    style: Style = field(default_factory=Style)
    overwrite: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    keep_identity: bool = False
    hidden: Path | None = None
    deidentifier: Deidentifier | None = None
    allow_seg_without_geometry: bool = False

    def write(self, read: ReadImage, index: int, explanations: Sequence[Explanation]) -> Outcome:
        """Write all result files of an image, or none: those of image ``index`` in each method's explanation."""
        try:
            return self._written(read, index, explanations)
        except PellucidError as error:
            return Outcome(read.file.path, error=error)
        except Exception as error:
            reason = "more memory is needed than there is" if is_out_of_memory(error) else type(error).__name__
            failed = WriteError(f"{read.file.path}: its results cannot be made ({reason}): choose other formats")
            return Outcome(read.file.path, error=failed)

    def _written(self, read: ReadImage, index: int, explanations: Sequence[Explanation]) -> Outcome:
        files: dict[str, bytes] = {}
        refused: list[ExportError] = []
        style = self.style
        for explanation in explanations:
            method = [explanation.method] if len(explanations) > 1 else []
            for stem, source, image, one in read.parts(explanation.one(index)):
                name = "_".join([stem, *method])
                case = Case(
                    name,
                    image,
                    one,
                    style.alpha,
                    style.colormap,
                    self.facts,
                    self.keep_identity,
                    style.signed,
                    self.deidentifier,
                    self.allow_seg_without_geometry,
                )
                own, why = exported(case, self.formats)
                files |= own | metadata(
                    case, self._shown(source), own, {"warnings": [*_burned_in([image]), *map(str, why)]}
                )
                refused += why
        path, folder = read.file.path, self.output / read.file.stem.parent
        write(folder, files, self.overwrite)
        first = explanations[0]
        return Outcome(
            path,
            first.prediction(index),
            tuple(first.reading(index, target) for target in first.targets[index].tolist()),
            {explanation.method: explanation.layers for explanation in explanations},
            tuple(folder / name for name in files),
            (*_warnings(explanations, index, style.signed), *_burned_in(read.images)),
            tuple(dict.fromkeys(map(str, refused))),
        )

    def _shown(self, source: str) -> str:
        path = Path(source)
        return str(path.relative_to(self.hidden)) if self.hidden and path.is_relative_to(self.hidden) else source


def model_facts(model: nn.Module) -> dict[str, Any]:
    """What results record of their model: its specification, and the digest of its weights."""
    info = model_info(model)
    stated = {"spec": info.spec, "weights": info.weights, "checkpoint_sha256": info.checkpoint_sha256}
    return stated | {"weights_sha256": digest(model)}


def _warnings(explanations: Sequence[Explanation], image: int, signed: bool) -> Iterator[str]:
    for explanation in explanations:
        for column, reason in enumerate(why_empty(explanation, signed)[image]):
            if reason is not None:
                yield (
                    f"{explanation.method}: the map of class {explanation.label(image, column)} is empty ({reason}): "
                    f"{REMEDIES[reason]}"
                )


def _burned_in(images: Sequence[Image]) -> Iterator[str]:
    instances = [one for image in images for one in image.original.instances]
    if any(str(one.header.get("BurnedInAnnotation") or "") == "YES" for one in instances):
        yield "the file states that its pixels name the patient (Burned In Annotation); images made from it do, too"


REMEDIES = {
    "all evidence negative": "no pixel is evidence for this class; try --target predicted; "
    "--method hirescam --signed shows the evidence against it",
    "constant": "the layer gives every position the same value; try another --layer, and check the weights",
    "evidence cancels out": "at this layer the gradient times the activation is 0 in every position, as before a layer "
    "norm; take another --layer",
    "not finite": "the image or the weights hold NaN or infinite values; check both, and the precision",
}
