"""Reads the lines of CSV files that users write, within bounds."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.io.refusal import one_line

MAX_BYTES = 2**26
MAX_ROWS = 2**20


def read_lines(path: Path, asked: str, error: type[PellucidError], separator: str = ",") -> list[list[str]]:
    """The lines of a CSV file (UTF-8) as cells, the header first; lines without a word are left out.

    ``asked`` begins the message of the ``error``.

    Raises:
        error: the file cannot be read, is no text in UTF-8 or no CSV, or has more than 2²⁶ bytes or 2²⁰ rows.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error(f"{asked}; it has more than {MAX_BYTES:,} bytes: make it smaller")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            header = next(reader, [])
            lines = [line for line in islice(reader, MAX_ROWS + 1) if any(map(str.strip, line))]
    except (OSError, UnicodeDecodeError, csv.Error) as caught:
        reason = caught.strerror if isinstance(caught, OSError) else "not text in UTF-8"
        reason = one_line(caught) if isinstance(caught, csv.Error) else reason
        raise error(f"{asked}; it cannot be read ({reason}): write it as CSV in UTF-8") from None
    if len(lines) > MAX_ROWS:
        raise error(f"{asked}; it has more than {MAX_ROWS:,} rows: make it smaller")
    return [header, *lines]
