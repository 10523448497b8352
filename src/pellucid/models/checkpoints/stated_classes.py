"""Find the class names that a checkpoint, or a settings file beside it, states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.models.checkpoints.stated import json_object

DEPTH = 4
MOST_ENTRIES = 10_000
MOST_CLASSES = 30_000
LONGEST_NAME = 200
_NAMING = re.compile(r"class|label|categor|finding|patholog|abnormal|diagnos|disease|vocab|^names$", re.IGNORECASE)
"""Keys of class names: other lists of text may be as long."""

Names = tuple[str, ...]


def find_classes(content: Any, path: Path) -> frozenset[Names]:
    """Return every list of class names in a checkpoint's content, or else in the config.json beside it."""
    return classes_in(content) or classes_in(json_object(path.parent / "config.json"))


def classes_in(content: Any) -> frozenset[Names]:
    """Return every list of class names in a content."""
    return frozenset(_lists(content))


def classes_of(found: frozenset[Names], count: int | None) -> Names | None:
    """Return the names that are as many as the classes; None where there are none, or several that differ."""
    fitting = [names for names in found if len(names) == count]
    return fitting[0] if len(fitting) == 1 else None


def _lists(content: Any) -> Iterator[Names]:
    for key, value in _entries(content):
        if _NAMING.search(key) and (names := _names(value)):
            yield names


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """The first entries of a mapping, and of those within it."""
    level = [content]
    count = 0
    for _ in range(DEPTH):
        inner: list[Any] = []
        for mapping in level:
            for key, value in mapping.items() if isinstance(mapping, Mapping) else ():
                count += 1
                if count > MOST_ENTRIES:
                    return
                if isinstance(key, str) and len(key) < LONGEST_NAME:
                    yield key, value
                    inner.append(value)
        level = inner


def _names(value: Any) -> Names:
    """Return names in the order of the classes: of a list, of indices to names, of names to indices."""
    ordered: Sequence[Any] = value if isinstance(value, list | tuple) else ()
    if isinstance(value, Mapping) and len(value) <= MOST_CLASSES:
        by_index = {_index(key): name for key, name in value.items()}
        if None in by_index:
            by_index = {_index(index): name for name, index in value.items()}
        ordered = [by_index.get(index) for index in range(len(value))]
    if not 1 < len(ordered) <= MOST_CLASSES or not all(isinstance(name, str) for name in ordered):
        return ()
    names = tuple(name.strip() for name in ordered)
    if all(name == f"LABEL_{index}" for index, name in enumerate(names)):  # what transformers puts in their place
        return ()
    sane = all(name.isprintable() and 0 < len(name) < LONGEST_NAME for name in names)
    return names if sane and len(set(names)) == len(names) else ()


def _index(key: Any) -> int | None:
    """A class's index: a whole number, or one in text, as in JSON."""
    if isinstance(key, str) and key.isdecimal() and len(key) < 6:
        return int(key)
    return key if isinstance(key, int) and not isinstance(key, bool) else None
