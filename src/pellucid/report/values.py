"""Checks values that were read from a JSON file, which anybody may have written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 1000
"""The most characters of a text that are kept."""
MAX_PATH = 4096
_MAX_NUMBER = 2**63
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters but tabs and line breaks."""


def text(value: object, most: int = MAX_TEXT) -> str:
    """A text, cut to a length; "" for anything else. Control characters, and what is no valid Unicode, are escaped."""
    if not isinstance(value, str):
        return ""
    found = value if len(value) <= most else f"{value[: most - 1]}…"
    return _CONTROL.sub(lambda one: f"\\x{ord(one[0]):02x}", found.encode("utf-8", "backslashreplace").decode())


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _MAX_NUMBER:
        return None
    return float(value) if math.isfinite(value) else None


def whole(value: object) -> int | None:
    """A whole number from 0, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER else None


def mapping(value: object) -> Mapping[str, Any]:
    """A JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: object, most: int) -> list[Any]:
    """The first values of a JSON list, else an empty list."""
    return value[:most] if isinstance(value, list) else []


def texts(value: object, most: int) -> tuple[str, ...]:
    """The texts among the first values of a JSON list."""
    return tuple(filter(None, map(text, listed(value, most))))
