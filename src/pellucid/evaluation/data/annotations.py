"""Reads annotation files in JSON, also compressed by gzip: what reading may take is bounded beforehand."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any, NoReturn

from pellucid.errors import DataError
from pellucid.io.refusal import one_line
from pellucid.run.csv_lines import content_of

HEAD = 2**16
"""Number of bytes at a file's beginning by which its form is recognised."""
MAX_BYTES = 2**28
"""The most bytes of a file, inflated."""
MAX_VALUES = 2**24
"""The most values of a JSON file: each takes some 60 bytes when it is read."""
_TOKENS = re.compile(r'"((?:[^"\\]|\\.)*)(?:"|\\?\Z)(\s*:)?|[\[\]{}]', re.DOTALL)
"""A text with the colon behind it, also one that is cut off; or a bracket."""


def head_of(path: Path) -> str:
    """The first 64 KiB of a file, inflated, as text; "" of what is no file or cannot be read."""
    try:
        return content_of(path, HEAD).decode("utf-8-sig", "replace") if path.is_file() else ""
    except (OSError, EOFError, zlib.error, ValueError):
        return ""


def keys_of(head: str) -> list[tuple[int, str]]:
    """The keys of the objects in the beginning of a JSON file, in their order, each with its depth; the outermost is 1.

    >>> keys_of('{"images": [{"id": 1, "file_name": "a.p')
    [(1, 'images'), (3, 'id'), (3, 'file_name')]
    """
    depth, found = 0, []
    for token in _TOKENS.finditer(head):
        text = token.group()
        if text in ("{", "["):
            depth += 1
        elif text in ("}", "]"):
            depth -= 1
        elif token.group(2):
            found.append((depth, token.group(1)))
    return found if head.lstrip().startswith("{") else []


def read_json(path: Path) -> Any:
    """The values of a JSON file.

    Raises:
        DataError: it cannot be read, is too large, or is no JSON; NaN and Infinity are none.
    """
    content = _all_of(path)
    count = sum(content.count(mark) for mark in (b",", b"[", b"{"))
    if count > MAX_VALUES:
        raise _refused(path, f"it holds {count:,} values; at most {MAX_VALUES:,} are read: divide it")
    try:
        return json.loads(content, parse_constant=_no_number)
    except RecursionError:
        raise _refused(path, "its values are nested too deep") from None
    except ValueError as error:
        raise _refused(path, f"it is no JSON ({error})") from None


def _all_of(path: Path) -> bytes:
    try:
        content = content_of(path, MAX_BYTES + 1)
    except OSError as error:
        raise _refused(path, error.strerror or error) from None
    except (EOFError, zlib.error, ValueError) as error:
        raise _refused(path, f"it is broken ({error})") from None
    if len(content) > MAX_BYTES:
        raise _refused(path, f"it has more than {MAX_BYTES:,} bytes: divide it")
    return content


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _refused(path: Path, reason: object) -> DataError:
    return DataError(f"cannot read {one_line(path.name)}: {one_line(reason)}")
