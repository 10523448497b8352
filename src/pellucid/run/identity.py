"""Results with identity and without it do not stand in one folder: its page and tables would name both."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePath

from pellucid.errors import OutputExistsError
from pellucid.export.earlier import ENDING, EarlierSet, Record, maps_below
from pellucid.run.request import DEIDENTIFY, IDENTIFIED

_FAILED = "failed.csv"
_NO_NAME = re.compile(r"image-(\d{4,}|[0-9a-f]{16})")
"""What inputs are called without identity."""


def check_identity(
    output: Path, there: Mapping[str, EarlierSet], replaced: Collection[PurePath], deidentified: bool
) -> None:
    """Refuse to add results to those of the other kind.

    ``there`` are the sets in the folder itself, by their names, and ``replaced`` the stems of sets that do not stay.

    Raises:
        OutputExistsError: some in the folder, or below it, have identity and the new ones not; or some in the folder
            itself have none and the new ones do.
    """
    found = _with_identity(output, replaced) if deidentified else _without_identity(there, replaced)
    if found is None:
        return
    old, new = ("with", "without") if deidentified else ("without", "with")
    raise OutputExistsError(
        f"{output}: there are results {old} identity, such as {found}, and these are {new} it; one page would show "
        "both: write to another folder"
    )


def _with_identity(output: Path, replaced: Collection[PurePath]) -> PurePath | None:
    """A map with identity, or an input that failed and is called by its name."""
    for path, record in maps_below(output):
        stem = path.relative_to(output).with_name(path.name.removesuffix(ENDING) if record is None else record.name)
        if not _is_without(record) and stem not in replaced:
            return stem
    return _named_in(output / _FAILED)


def _without_identity(there: Mapping[str, EarlierSet], replaced: Collection[PurePath]) -> PurePath | None:
    """A set without identity; a run writes these in no subfolder."""
    stems = (PurePath(name) for name, one in there.items() if _is_without(one.record))
    return next((stem for stem in stems if stem not in replaced), None)


def _is_without(record: Record | None) -> bool:
    """Whether a set is known to be without identity; earlier versions wrote no record of it."""
    return record is not None and record.key.each.get(DEIDENTIFY) not in (None, IDENTIFIED)


def _named_in(table: Path) -> PurePath | None:
    """An input in a table of failed ones that is called by its own name."""
    try:
        # What cannot be decoded is replaced, as where the page takes the rows over.
        text = table.read_text(encoding="utf-8", errors="replace") if table.is_file() else ""
        names = [row[0] for row in csv.reader(io.StringIO(text, newline="")) if row][1:]
    except csv.Error:
        return None
    return next((PurePath(name) for name in names if not _NO_NAME.fullmatch(name)), None)
