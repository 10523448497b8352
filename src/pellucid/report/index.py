"""Writes the page and the tables of a folder: ``index.html``, ``results.csv`` and, on request, ``results.parquet``."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.errors import OptionError, OutputExistsError
from pellucid.export.csv_file import csv_file
from pellucid.export.writing import write
from pellucid.report.maps import Map
from pellucid.report.page import GENERATOR, page
from pellucid.report.reading import is_regular, read_maps
from pellucid.report.table import MADE_BY, PYARROW, TABLES
from pellucid.report.values import MAX_PATH, text

PAGE = "index.html"
FAILED = "failed.csv"
_FAILED_COLUMNS = ("image", "error")
_MARKS = {
    PAGE: f'<meta name="generator" content="{GENERATOR} ',
    FAILED: ",".join(_FAILED_COLUMNS),
    "results.csv": "image,part,method,layers,",
    "results.parquet": MADE_BY,
}
"""What a file of each name holds if it was written here."""
_SEEN = 2**16
"""The bytes at the beginning and at the end of a file in which its mark is looked for."""
_MAX_FAILED_BYTES = 2**24
_MAX_FAILED = 10_000


def write_index(
    folder: str | os.PathLike[str], tables: str | Sequence[str] = "csv", failed: Mapping[str, str] | None = None
) -> list[Path]:
    """Write a page and tables of all results in a folder and below it, and return the files; older ones are replaced.

    ``index.html`` shows every image with its maps: thumbnails within the page, large images as the files beside it. It
    loads nothing else. The table, ``results.csv`` or ``results.parquet``, has a row for each map: ``tables`` are "csv",
    "parquet" or both. All are made from the ``…_metadata.json`` files that ``pellucid explain`` writes. They hold file
    names and labels, but no identity that ``--keep-identity`` keeps; ``patient`` of ``--labels`` is in the table alone.
    ``failed`` are inputs that could not be explained, with the reasons: they stay in ``failed.csv`` until the folder
    has their results.

    Nothing is written into a folder without results.

    Raises:
        OptionError: there is no such kind of table.
        MissingPackageError: Parquet needs pyarrow, which is not installed.
        OutputExistsError: a file of such a name exists that was not written here.
        WriteError: the folder cannot be written to.
    """
    root = Path(folder)
    names = check_index(root, tables)
    maps, unread = read_maps(root)
    if not maps:
        return []
    reasons = _failed(root, failed or {}, maps)
    files = {f"results.{name}": TABLES[name](maps) for name in names}
    files[FAILED] = csv_file(_FAILED_COLUMNS, reasons.items())
    files = {PAGE: page(root, maps, reasons, unread, list(files)[: len(names)]), **files}
    if not reasons:
        del files[FAILED]
        (root / FAILED).unlink(missing_ok=True)
    write(root, files, overwrite=True)
    return [root / name for name in files]


def check_index(folder: str | os.PathLike[str], tables: str | Sequence[str] = "csv") -> list[str]:
    """Check that the page and these tables can be written, before work is done; return the tables' kinds.

    Raises:
        OptionError: there is no such kind of table.
        MissingPackageError: Parquet needs pyarrow, which is not installed.
        OutputExistsError: a file of such a name exists that was not written here.
    """
    names = [name.strip() for name in tables.split(",")] if isinstance(tables, str) else list(tables)
    for name in names:
        if name not in TABLES:
            raise OptionError(f"table {name!r} was asked for; there are {', '.join(TABLES)}")
    if "parquet" in names:
        PYARROW.load("a Parquet table")
    for name in (PAGE, FAILED, *(f"results.{name}" for name in names)):
        path = Path(folder) / name
        if os.path.lexists(path) and not _is_own(path):
            raise OutputExistsError(
                f"{path} is already there, and was not written by pellucid: rename it, or choose another folder"
            )
    return list(dict.fromkeys(names))


def _is_own(path: Path) -> bool:
    if not is_regular(path):
        return False
    with path.open("rb") as file:
        beginning = file.read(_SEEN)
        file.seek(max(0, path.stat().st_size - _SEEN))
        return _MARKS[path.name].encode() in beginning + file.read(_SEEN)


def _failed(folder: Path, new: Mapping[str, str], maps: Sequence[Map]) -> dict[str, str]:
    """The inputs that failed now, and those that failed before and have no results yet, as ``failed.csv`` has them."""
    done = {one.image for one in maps}
    before = {image: reason for image, reason in _failed_before(folder) if image not in done}
    now = {text(image, MAX_PATH): text(reason) for image, reason in new.items()}
    return dict(list((before | now).items())[:_MAX_FAILED])


def _failed_before(folder: Path) -> list[tuple[str, str]]:
    path = folder / FAILED
    if not is_regular(path) or path.stat().st_size > _MAX_FAILED_BYTES:
        return []
    rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8", errors="replace"), newline=""))
    try:
        return [(text(row[0], MAX_PATH), text(row[1])) for row in list(rows)[1:] if len(row) == 2]
    except csv.Error:
        return []
