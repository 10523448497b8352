"""Write the results of one image, and report the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.provenance import digest
from pellucid.core.style import Style
from pellucid.errors import ExportError, PellucidError, WriteError, is_out_of_memory
from pellucid.export import Case, exported
from pellucid.export.deidentify import Deidentifier
from pellucid.export.earlier import RECORD, Record
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.models.sources import model_info
from pellucid.run.outcome import Outcome, ReadImage
from pellucid.run.remedies import burned_in, empty_maps
from pellucid.run.resuming import LABELS, MadeMeanwhileError, Resuming


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

    @property
    def resuming(self) -> Resuming:
        """How earlier results in the output folder are met."""
        return Resuming(self.output, self.overwrite, self.deidentifier)

    def write(
        self,
        read: ReadImage,
        index: int,
        explanations: Sequence[Explanation],
        batch: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Write all result files of an image, or none: those of image ``index`` in each method's explanation.

        ``batch`` names the images that were explained together.
        """
        try:
            return self._written(read, index, explanations, batch, labels)
        except PellucidError as error:
            return Outcome(read.file.path, error=error)
        except Exception as error:
            reason = "more memory is needed than there is" if is_out_of_memory(error) else type(error).__name__
            failed = WriteError(f"{read.file.path}: its results cannot be made ({reason}): choose other formats")
            return Outcome(read.file.path, error=failed)

    def _written(
        self,
        read: ReadImage,
        index: int,
        explanations: Sequence[Explanation],
        batch: str,
        labels: Mapping[str, str] | None,
    ) -> Outcome:
        made: list[tuple[Case, str, dict[str, bytes], list[str]]] = []
        refused: list[ExportError] = []
        for explanation in explanations:
            method = [explanation.method] if len(explanations) > 1 else []
            for stem, source, image, one in read.parts(explanation.one(index)):
                case = self._case("_".join([stem, *method]), image, one)
                own, why = exported(case, self.formats)
                made.append(
                    (
                        case,
                        self._shown(source) if self.deidentifier is None else stem,
                        own,
                        [*burned_in([image]), *map(str, why)],
                    )
                )
                refused += why
        reasons = tuple(dict.fromkeys(map(str, refused)))
        maps = sum(len(case.each()) for case, *_ in made)
        record = Record(read.file.stem.name, read.key, maps, batch, tuple(read.values.shape), read.weight, reasons)
        more = {LABELS: labels, "key": read.key.digest, RECORD: record.facts()}
        # The metadata comes last: where it is, all other files are.
        files = {name: content for _, _, own, _ in made for name, content in own.items()}
        for case, source, own, warned in made:
            files |= metadata(case, source, own, {**more, "warnings": warned})
        folder, first = self.output / read.file.stem.parent, explanations[0]
        try:
            write(folder, files, self.overwrite, lambda: self.resuming.replaced(read))
        except MadeMeanwhileError:
            return Outcome(read.file.path, files=tuple(folder / name for name in files), passed_over=True)
        return Outcome(
            read.file.path,
            first.prediction(index),
            tuple(first.reading(index, target) for target in first.targets[index].tolist()),
            {explanation.method: explanation.layers for explanation in explanations},
            tuple(folder / name for name in files),
            (*empty_maps(explanations, index, self.style.signed), *burned_in(read.images)),
            reasons,
        )

    def _case(self, name: str, image: Image, explanation: Explanation) -> Case:
        style = self.style
        return Case(
            name,
            image,
            explanation,
            style.alpha,
            style.colormap,
            self.facts,
            self.keep_identity,
            style.signed,
            self.deidentifier,
            self.allow_seg_without_geometry,
        )

    def _shown(self, source: str) -> str:
        path = Path(source)
        return str(path.relative_to(self.hidden)) if self.hidden and path.is_relative_to(self.hidden) else source


def model_facts(model: nn.Module) -> dict[str, Any]:
    """What results record of their model: its specification, and the digest of its weights."""
    info = model_info(model)
    stated = {"spec": info.spec, "weights": info.weights, "checkpoint_sha256": info.checkpoint_sha256}
    kept = {"registered": info.registered, "origin": dict(info.origin)}
    return stated | {key: fact for key, fact in kept.items() if fact} | {"weights_sha256": digest(model)}
