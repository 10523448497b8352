"""The order of names in which numbers count as numbers: image-2 comes before image-10."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(\d{1,18})")


def by_number(name: str) -> list[tuple[bool, int, str]]:
    """A key to sort names by."""
    parts = _NUMBER.split(name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
