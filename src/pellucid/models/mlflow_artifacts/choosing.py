"""Which of the artifacts is the network: the file that ``MLmodel`` states, or the only one that may be it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pellucid.errors import SourceError, did_you_mean
from pellucid.models.checkpoints.refusals import WEIGHTS, few
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.described import FILE, data_in
from pellucid.models.mlflow_artifacts.plain_yaml import mapping_in
from pellucid.models.mlflow_artifacts.tracking import Entry, Files

GRAPH, EXPORTED = ".onnx", ".pt2"
NETWORKS = (*WEIGHTS, EXPORTED, GRAPH)
"""How files end that hold a network or its weights."""
_NOT_ITS_OWN = ("code", "extra_files")
"""Folders beside ``MLmodel`` with the user's other files."""
_SHOWN = 8


@dataclass(frozen=True)
class Chosen:
    """The path of the network's file among the artifacts, its size if known, and what ``MLmodel`` states."""

    path: str
    size: int | None
    description: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chooser:
    """The artifacts of what ``uri`` names. ``folder`` is a private one, for the description."""

    files: Files
    uri: str
    folder: Path
    bounds: Bounds

    def chosen(self, path: str) -> Chosen | None:
        """Return the file at a path, or the network's file in the folder there; None where nothing is.

        ``SourceError``: there is none in it, or several.
        """
        if path and (entry := self._entry(path)) is not None and not entry.is_folder:
            return Chosen(path, entry.size)
        entries = self.files.listed(path)
        if not entries:
            return None
        described = next((each for each in entries if each.name == FILE and not each.is_folder), None)
        return self._any(path, {}) if described is None else self._described(path, described)

    def missing(self, path: str, models: Iterable[str] = ()) -> SourceError:
        """Return the error for a path at which nothing is: it names what is beside it, and the run's ``models``."""
        parent = str(PurePosixPath(path).parent).removeprefix(".")
        names = [*(entry.name for entry in self.files.listed(parent)), *models]
        if not path:
            return self._none()
        name = path.rpartition("/")[2]
        return SourceError(
            f"{self.uri} has no artifact {path!r}{did_you_mean(name, names)}; it has {few(names) or 'none'}"
        )

    def _none(self) -> SourceError:
        kinds = ", ".join(NETWORKS)
        return SourceError(
            f"{self.uri}: no network's file ({kinds}) is among its artifacts; check that it was logged, and not deleted"
        )

    def _described(self, path: str, entry: Entry) -> Chosen | None:
        file = self.files.fetched(_joined(path, FILE), entry.size, self.folder / FILE, self.bounds.description)
        description = mapping_in(file, self.bounds.description)
        data = data_in(description, self.uri)
        stated = _joined(path, data.path)
        if (known := self._entry(stated)) is not None and not known.is_folder:
            return Chosen(stated, known.size, description)
        return self._any(stated, description)

    def _any(self, path: str, description: Mapping[str, Any]) -> Chosen | None:
        """The only file in a folder, and in those within it, that may be a network; None where there are no others."""
        found = [(where, entry) for where, entry in self._within(path) if entry.name.lower().endswith(NETWORKS)]
        if len(found) == 1:
            return Chosen(found[0][0], found[0][1].size, description)
        if not found and not path:
            return None
        if not found:
            raise self._none()
        names = few([where for where, _ in found], _SHOWN)
        raise SourceError(
            f"{self.uri}: {len(found)} files may be the network ({names}); name one, as in {self.uri}/{found[0][0]}"
        )

    def _within(self, path: str) -> Iterator[tuple[str, Entry]]:
        """The files in a folder and in those within it, as many as are read."""
        left, waiting, seen = self.bounds.folders, [(path, 0)], 0
        while waiting:
            folder, depth = waiting.pop(0)
            entries = self.files.listed(folder)
            seen, left = seen + len(entries), left - 1
            if left < 0 or seen > self.bounds.entries:
                raise SourceError(f"{self.uri} has more files than are looked through; name one of them")
            described = any(each.name == FILE for each in entries)
            for each in entries:
                where = _joined(folder, each.name)
                if not each.is_folder:
                    yield where, each
                elif depth < self.bounds.depth and not (described and each.name in _NOT_ITS_OWN):
                    waiting.append((where, depth + 1))

    def _entry(self, path: str) -> Entry | None:
        """What is at a path, as the folder above it lists it."""
        parent, _, name = path.rpartition("/")
        return next((each for each in self.files.listed(parent) if each.name == name), None)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}".strip("/")
