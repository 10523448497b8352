"""A table as a CSV file that a spreadsheet can open: no text in it is taken for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile(r"((?:^|[;\t\r\n])\s*)([=+\-@])")
"""What a spreadsheet takes for the beginning of a formula, also in a cell that it splits at another separator."""


def csv_file(names: Sequence[str], rows: Iterable[Iterable[object]]) -> bytes:
    r"""A CSV file as RFC 4180 has it, in UTF-8. What a spreadsheet would take for a formula follows an apostrophe.

    >>> csv_file(["name", "hit"], [["=1+1", True], ["b", None]])
    b"name,hit\r\n'=1+1,true\r\nb,\r\n"
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return _FORMULA.sub(r"\1'\2", value) if isinstance(value, str) else value
