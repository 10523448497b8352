"""Earlier results of a run's inputs: passed over, brought up to date, made anew, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from pellucid.errors import OutputExistsError, warn
from pellucid.export.deidentify import Deidentifier
from pellucid.export.earlier import EarlierSet, Key, facts_of, sets_in
from pellucid.export.metadata import encoded
from pellucid.export.writing import write
from pellucid.run.identity import check_identity
from pellucid.run.inputs import Input
from pellucid.run.outcome import Outcome, PassedOver, ReadImage
from pellucid.run.request import DEIDENTIFY

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


class MadeMeanwhileError(Exception):
    """Another run wrote the same set."""


@dataclass(frozen=True)
class Resuming:
    """Where results are written, and how those that are there are met; the fields are those of ``Results``."""

    output: Path
    overwrite: bool = False
    deidentifier: Deidentifier | None = None

    def key(self, file_digest: str, request: Key) -> Key:
        """The key of an input's set, from the key that all sets of the request share."""
        key = replace(request, input=file_digest)
        if self.deidentifier is None:
            return key
        secret = self.deidentifier.digest
        each = {name: secret(one) for name, one in key.each.items()}
        return Key(secret(key.input), secret(key.model), secret(key.options), key.version, each)

    def sets(self, files: Sequence[Input], request: Key) -> dict[PurePath, EarlierSet]:
        """The sets in the output folder that belong to these inputs, by the inputs' stems.

        Raises:
            OutputExistsError: one was made of another request, and may not be replaced; or there are results without
                identity of another key, or some with identity beside those without.
        """
        folders = {folder: sets_in(self.output / folder) for folder in {file.stem.parent for file in files}}
        found = {file.stem: folders[file.stem.parent].get(file.stem.name) for file in files}
        sets = {stem: one for stem, one in found.items() if one is not None}
        expected = self.key("", request)
        for stem, one in sets.items() if not self.overwrite else ():
            if other := [part for part in expected.other(one.record.key) if part != "input"]:
                raise self._exists(stem, other, expected.other_options(one.record.key))
        replaced = sets if self.overwrite else {}
        here = folders[PurePath()] if PurePath() in folders else sets_in(self.output)
        check_identity(self.output, here, replaced, self.deidentifier is not None)
        if self.deidentifier is not None:
            there = {folder / name: one for folder, each in folders.items() for name, one in each.items()}
            self._check_keys({stem: one for stem, one in there.items() if stem not in replaced}, expected)
        return sets

    def _check_keys(self, there: Mapping[PurePath, EarlierSet], expected: Key) -> None:
        """Refuse results without identity of another key, whose names differ: they would stay beside the new ones."""
        own = expected.each[DEIDENTIFY]
        others = [stem for stem, one in there.items() if one.record.key.each.get(DEIDENTIFY) != own]
        if not others:
            return
        what = f"{self.output}: there are results without identity of another key, such as {others[0]}"
        if not self.overwrite:
            raise OutputExistsError(
                f"{what}; the same image has another name, and the same patient another identity, here: give the same "
                "deidentify_key=, remove them, or write to another folder"
            )
        warn(f"{what}; they stay there, with other identities: remove them")

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

    def replaced(self, read: ReadImage) -> Sequence[str]:
        """The files that a set replaces, as they are now: another run may have written there meanwhile.

        Raises:
            MadeMeanwhileError: the same set is there.
            OutputExistsError: the set of another request is there, and may not be replaced.
        """
        stem = read.file.stem
        found = sets_in(self.output / stem.parent, stem.name).get(stem.name)
        if found is None or self.overwrite:
            return () if found is None else found.files
        if other := read.key.other(found.record.key):
            raise self._exists(stem, other, read.key.other_options(found.record.key))
        if found.is_whole:
            raise MadeMeanwhileError
        return found.files


def _listed(options: Sequence[str]) -> str:
    """The options that the user has changed, in a row."""
    *first, last = (name for name in options if _FOLLOWS.get(name, set()).isdisjoint(options))
    return f"{', '.join(first)} and {last}" if first else last
