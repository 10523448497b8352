"""Reads the lines of CSV files that users write, within bounds."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from itertools import islice
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.io.refusal import one_line

MAX_BYTES = 2**26
MAX_ROWS = 2**20
_GZIP = b"\x1f\x8b"


def read_lines(path: Path, asked: str, error: type[PellucidError], separator: str = ",") -> list[list[str]]:
    """The lines of a CSV file (UTF-8) as cells, the header first; lines without a word are left out.

    It may be compressed by gzip, as some packages ship their tables; then its limit is that of the inflated file.

    ``asked`` begins the message of the ``error``.

    Raises:
        error: the file cannot be read, is no text in UTF-8 or no CSV, or has more than 2²⁶ bytes or 2²⁰ rows.
    """
    try:
        content = content_of(path, MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise error(f"{asked}; it has more than {MAX_BYTES:,} bytes: make it smaller")
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator, strict=True)
        header = next(reader, [])
        lines = [line for line in islice(reader, MAX_ROWS + 1) if any(map(str.strip, line))]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise error(f"{asked}; it is compressed and broken: inflate it") from None
    except (OSError, UnicodeDecodeError, csv.Error) as caught:
        reason = caught.strerror if isinstance(caught, OSError) else "not text in UTF-8"
        reason = one_line(caught) if isinstance(caught, csv.Error) else reason
        raise error(f"{asked}; it cannot be read ({reason}): write it as CSV in UTF-8") from None
    if len(lines) > MAX_ROWS:
        raise error(f"{asked}; it has more than {MAX_ROWS:,} rows: make it smaller")
    return [header, *lines]


def content_of(path: Path, most: int) -> bytes:
    """At most so many bytes of a file, inflated if it is compressed by gzip.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read, or is compressed and broken.
    """
    with path.open("rb") as raw:
        is_packed = raw.read(2) == _GZIP
        raw.seek(0)
        return gzip.GzipFile(fileobj=raw).read(most) if is_packed else raw.read(most)
