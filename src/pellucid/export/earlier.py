"""Earlier results in a folder, as their metadata states them: what they were made of, and whether they are whole.

All result files of one input are a set. Each metadata file of a set holds its record.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pellucid.export.drafts import is_name

ENDING = "_metadata.json"
MAX_BYTES = 2**24
"""The most bytes of a metadata file that are read; one of 21,000 classes has 2 MB."""
WHOLE_FOLDER = ("index.html", "failed.csv", "results.csv", "results.parquet")
"""The names of files about all results in a folder and below it (``pellucid.report``)."""
RECORD = "set"
"""The record's name in the metadata."""

PARTS = ("input", "model", "options", "version")
"""The parts of a key that make it another."""


@dataclass(frozen=True)
class Key:
    """What a set was made of: digests of its input, the model and the options, and the versions of what computed it.

    ``each`` are digests of the single options by their names, so that a message can name those that differ; keys are
    equal by the four parts.
    """

    input: str
    model: str
    options: str
    version: str
    each: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def parts(self) -> dict[str, str]:
        """The four parts by their names."""
        return {name: getattr(self, name) for name in PARTS}

    @property
    def digest(self) -> str:
        """One SHA-256 of all parts."""
        return hashlib.sha256(json.dumps(self.parts).encode()).hexdigest()

    def other(self, key: Key) -> list[str]:
        """The names of the parts in which another key differs."""
        return [name for name, part in key.parts.items() if self.parts[name] != part]

    def other_options(self, key: Key) -> list[str]:
        """The names of the options in which another key differs; none where it does not hold them."""
        return [name for name, one in self.each.items() if key.each.get(name) != one] if key.each else []


@dataclass(frozen=True)
class Record:
    """What all metadata files of a set state of it.

    ``name`` is the beginning of its file names, ``maps`` the number of its metadata files. ``batch`` names the images
    that were explained together, ``shape`` is the network's input's and ``weight`` the number of values that were
    held, so that a run that goes on makes the same batches. ``refused`` says why formats are missing.
    """

    name: str
    key: Key
    maps: int
    batch: str
    shape: tuple[int, ...]
    weight: int
    refused: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The record as plain values."""
        own = {"key": self.key.parts, "options": dict(self.key.each)}
        return {**asdict(self), **own, "shape": list(self.shape), "refused": list(self.refused)}


@dataclass(frozen=True)
class EarlierSet:
    """A set that is in a folder. ``files`` are the names of all its files, ``metadata`` those of the records."""

    record: Record
    metadata: tuple[str, ...]
    files: tuple[str, ...]
    is_whole: bool


def sets_in(folder: Path, name: str | None = None) -> dict[str, EarlierSet]:
    """The sets in a folder by their names; only that of one name, if it is given. Files of other kinds are ignored."""
    found: dict[str, list[tuple[str, Record, list[str]]]] = {}
    prefix = "" if name is None else f"{name}_"
    for file in sorted(file for file in _names(folder) if file.startswith(prefix) and file.endswith(ENDING)):
        facts = facts_of(folder / file)
        record = _record(facts)
        if record is not None and file.startswith(f"{record.name}_") and name in (None, record.name):
            found.setdefault(record.name, []).append((file, record, files_of(facts, f"{record.name}_")))
    return {name: _set(folder, own) for name, own in found.items()}


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:  # listed for each set that is written: paths would take ten times as long
            return [entry.name for entry in entries]
    except OSError:
        return []


def _set(folder: Path, own: list[tuple[str, Record, list[str]]]) -> EarlierSet:
    names, records = tuple(file for file, _, _ in own), {record for _, record, _ in own}
    files = tuple(dict.fromkeys((*(file for _, _, files in own for file in files), *names)))
    record = own[0][1]
    if len({one.key for one in records}) > 1:  # files of two sets were put together: they are of no request
        record = Record(record.name, Key("", "", "", ""), 0, "", (), 0)
    is_whole = len(records) == 1 and len(own) == record.maps and all((folder / file).is_file() for file in files)
    return EarlierSet(record, names, files, is_whole)


def results_among(paths: Sequence[Path]) -> set[Path]:
    """Those of some files that are earlier results: metadata, the files beside it that it names, pages and tables."""
    found: set[Path] = set()
    for path in paths:
        facts = facts_of(path) if path.name.endswith(ENDING) else {}
        if "image_sha256" in facts and "provenance" in facts:
            record = _record(facts)
            prefix = path.name[: -len(ENDING)] if record is None else record.name
            found |= {path, *(path.with_name(name) for name in files_of(facts, f"{prefix}_"))}
    folders = {folder for path in found for folder in path.parents}
    return found | {path for path in paths if path.name in WHOLE_FOLDER and path.parent in folders}


def metadata_files(folder: Path) -> Iterator[Path]:
    """The metadata files in a folder and below it, in order; hidden folders are passed over."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if name.endswith(ENDING))


def maps_below(folder: Path) -> Iterator[tuple[Path, Record | None]]:
    """The metadata files of maps in a folder and below it, each with its record if any."""
    for path in metadata_files(folder):
        facts = facts_of(path)
        if facts.get("image") and facts.get("method"):
            yield path, _record(facts)


def facts_of(path: Path) -> dict[str, Any]:
    """What a metadata file holds; nothing if it is none, or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def files_of(facts: Mapping[str, Any], prefix: str) -> list[str]:
    """The files that metadata names, as far as they are beside it and their names begin with ``prefix``."""
    named = facts.get("files")
    return [name for name in named if is_name(name) and name.startswith(prefix)] if isinstance(named, list) else []


def _each(record: Mapping[str, Any]) -> dict[str, str]:
    """The options' digests in a record; earlier versions wrote none."""
    return {str(name): str(one) for name, one in dict(record.get("options", {})).items()}


def _record(facts: Mapping[str, Any]) -> Record | None:
    """The record in metadata; None where it has none, or one of another form."""
    try:
        given = facts[RECORD]
        key = Key(**{name: str(given["key"][name]) for name in PARTS}, each=_each(given))
        shape, refused = (tuple(given[name]) for name in ("shape", "refused"))
        numbers = int(given["maps"]), str(given["batch"]), tuple(map(int, shape)), int(given["weight"])
        record = Record(str(given["name"]), key, *numbers, tuple(map(str, refused)))
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        return None
    return record if is_name(record.name) else None
