"""Write the results of one image, and report the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.provenance import digest
from pellucid.core.reading import Reading
from pellucid.core.shown import why_empty
from pellucid.core.style import Style
from pellucid.errors import ExportError, OutputExistsError, PellucidError, WriteError, is_out_of_memory
from pellucid.export import Case, exported
from pellucid.export.deidentify import Deidentifier
from pellucid.export.earlier import RECORD, EarlierSet, Key, Record, facts_of, sets_in
from pellucid.export.metadata import encoded, metadata
from pellucid.export.writing import write
from pellucid.models.sources import model_info
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

    def key(self, file_digest: str, request: Key) -> Key:
        """The key of an input's set, from the key that all sets of the request share."""
        key = replace(request, input=file_digest)
        if self.deidentifier is None:
            return key
        secret = self.deidentifier.digest
        each = {name: secret(one) for name, one in key.each.items()}
        return Key(secret(key.input), secret(key.model), secret(key.options), key.version, each)

    def earlier(self, files: Sequence[Input], request: Key) -> dict[PurePath, EarlierSet]:
        """The sets in the output folder that belong to these inputs, by the inputs' stems.

        Raises:
            OutputExistsError: one was made of another request, and may not be replaced.
        """
        folders = {folder: sets_in(self.output / folder) for folder in {file.stem.parent for file in files}}
        found = {file.stem: folders[file.stem.parent].get(file.stem.name) for file in files}
        sets = {stem: one for stem, one in found.items() if one is not None}
        expected = self.key("", request)
        for stem, one in sets.items() if not self.overwrite else ():
            if other := [part for part in expected.other(one.record.key) if part != "input"]:
                raise self._exists(stem, other, expected.other_options(one.record.key))
        return sets

    def passed_over(
        self, file: Input, earlier: EarlierSet, key: Key, labels: Mapping[str, str] | None
    ) -> PassedOver | None:
        """The input's outcome if its set is whole; None if it has to be made, in place of what is there.

        Its labels are brought up to date, if there are any.

        Raises:
            OutputExistsError: the set was made of another input.
        """
        if self.overwrite:
            return None
        if other := key.other(earlier.record.key):
            raise self._exists(file.stem, other, key.other_options(earlier.record.key))
        if not earlier.is_whole:
            return None
        if labels is not None:
            self._relabel(file, earlier, labels)
        folder = self.output / file.stem.parent
        files = tuple(folder / name for name in earlier.files)
        record = earlier.record
        return PassedOver(Outcome(file.path, files=files, refused=record.refused, passed_over=True), record)

    def _exists(self, stem: PurePath, other: Sequence[str], options: Sequence[str]) -> OutputExistsError:
        """The error for a set of another key; ``other`` are the parts that differ, ``options`` the single ones."""
        cure = "replace them with overwrite=True, or write to another folder"
        if self.deidentifier is not None:
            cure += "; runs with the same deidentify_key= go on from one another"
        parts = {**_PARTS, "options": _listed(options)} if options else _PARTS
        what = " and ".join(f"another {parts[part]}" for part in other)
        return OutputExistsError(f"{self.output / stem}: there are results of {what}: {cure}")

    def _relabel(self, file: Input, earlier: EarlierSet, labels: Mapping[str, str]) -> None:
        """State other labels in the metadata of a set, if they differ."""
        folder = self.output / file.stem.parent
        facts = {name: facts_of(folder / name) for name in earlier.metadata}
        changed = {name: encoded(one | {LABELS: labels}) for name, one in facts.items() if one.get(LABELS) != labels}
        if changed:
            write(folder, changed, overwrite=True)

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
                made.append((case, self._shown(source), own, [*_burned_in([image]), *map(str, why)]))
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
            write(folder, files, self.overwrite, lambda: self._replaced(read))
        except _MadeMeanwhileError:
            return Outcome(read.file.path, files=tuple(folder / name for name in files), passed_over=True)
        return Outcome(
            read.file.path,
            first.prediction(index),
            tuple(first.reading(index, target) for target in first.targets[index].tolist()),
            {explanation.method: explanation.layers for explanation in explanations},
            tuple(folder / name for name in files),
            (*_warnings(explanations, index, self.style.signed), *_burned_in(read.images)),
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

    def _replaced(self, read: ReadImage) -> Sequence[str]:
        """The files that a set replaces, as they are now: another run may have written there meanwhile.

        Raises:
            _MadeMeanwhileError: the same set is there.
            OutputExistsError: the set of another request is there, and may not be replaced.
        """
        stem = read.file.stem
        found = sets_in(self.output / stem.parent, stem.name).get(stem.name)
        if found is None or self.overwrite:
            return () if found is None else found.files
        if other := read.key.other(found.record.key):
            raise self._exists(stem, other, read.key.other_options(found.record.key))
        if found.is_whole:
            raise _MadeMeanwhileError
        return found.files

    def _shown(self, source: str) -> str:
        path = Path(source)
        return str(path.relative_to(self.hidden)) if self.hidden and path.is_relative_to(self.hidden) else source


LABELS = "labels"
"""The name in the metadata of what the user states of an image."""
_PARTS = {
    "input": "image of this name",
    "model": "model",
    "options": "method or of other options",
    "version": "version of pellucid or torch",
}
"""What the parts of a key are called."""
_FOLLOWS = {"--set": {"--method"}, "--precision": {"--method", "--device"}}
"""Options that differ where another one does: a method has its own options, and its own fastest precision."""


class _MadeMeanwhileError(Exception):
    """Another run wrote the same set."""


def _listed(options: Sequence[str]) -> str:
    """The options that the user has changed, in a row."""
    *first, last = (name for name in options if _FOLLOWS.get(name, set()).isdisjoint(options))
    return f"{', '.join(first)} and {last}" if first else last


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
                    f"{REMEDIES[reason]}{_BY.get(reason, '')}"
                )


def _burned_in(images: Sequence[Image]) -> Iterator[str]:
    instances = [one for image in images for one in image.original.instances]
    if any(str(one.header.get("BurnedInAnnotation") or "") == "YES" for one in instances):
        yield "the file states that its pixels name the patient (Burned In Annotation); images made from it do, too"


REMEDIES = {
    "all evidence negative": "no pixel is evidence for this class; explain another class, or show the evidence "
    "against it",
    "constant": "the layer gives every position the same value; try another layer, and check the weights",
    "evidence cancels out": "at this layer the gradient times the activation is 0 in every position, as before a layer "
    "norm; take another layer",
    "not finite": "the image or the weights hold NaN or infinite values; check both, and the precision",
}
_BY = {"all evidence negative": ": targets='predicted', or method='hirescam' with signed=True"}
"""How to do what a remedy says."""
