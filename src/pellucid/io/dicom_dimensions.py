"""What tells DICOM images at the same position apart: time, b-value, echo and others, by the file's attributes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pydicom import Dataset

from pellucid.io.dimensions import DIMENSIONS
from pellucid.io.selection import NONE, Select, ordered, shown
from pellucid.io.window import first

_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x2001, "Philips Imaging DD 001", 0x03),
)
_PRIVATE_DIRECTIONS = ((0x0019, "SIEMENS MR HEADER", 0x0E),)
_GE_OFFSET = 10**9
"""GE adds this to b-values that were set by hand."""


def dimension_values(headers: Sequence[Dataset], name: str) -> list[list[str]]:
    """The values of a dimension for each header, as text: a list for each attribute that any header has."""
    candidates: list[Callable[[Dataset], Any]] = [_by_name(keyword) for keyword in DIMENSIONS.get(name, ())]
    if name == "bvalue":
        candidates.append(_private_b_value)
    if name == "direction":
        candidates.append(_private_direction)
    found = (_shown(headers, value) for value in candidates)
    return [values for values in found if any(value != NONE for value in values)]


def _shown(headers: Sequence[Dataset], value: Callable[[Dataset], Any]) -> list[str]:
    """A value of each header as text; frames of one object may share a header, which is read once."""
    found = {key: shown(value(header)) for key, header in {id(header): header for header in headers}.items()}
    return [found[id(header)] for header in headers]


def _by_name(keyword: str) -> Callable[[Dataset], Any]:
    return lambda header: header.get(keyword)


def _private_b_value(header: Dataset) -> Any:
    value = first(_private(header, _PRIVATE_B_VALUES))
    with suppress(TypeError, ValueError):
        return int(value) % _GE_OFFSET if int(value) >= _GE_OFFSET else value
    return None


def _private_direction(header: Dataset) -> Any:
    return _private(header, _PRIVATE_DIRECTIONS)


def _private(header: Dataset, elements: Sequence[tuple[int, str, int]]) -> Any:
    """The first of several private elements (group, creator, element) that a header has."""
    for group, creator, element in elements:
        with suppress(KeyError):
            return header.private_block(group, creator)[element].value
    return None


def chosen(headers: Sequence[Dataset], select: Select) -> tuple[list[int], tuple[str, str, list[str]] | None]:
    """The indices of the headers that have the selected values.

    Also the first choice that no header fits: its name, its value, and the values that there are.
    """
    kept = list(range(len(headers)))
    for name, value in select.items():
        each = dimension_values([headers[index] for index in kept], name)
        fitting = next((values for values in each if value in values), None)
        if fitting is None:
            return [], (name, value, ordered(each[0]) if each else [])
        kept = [index for index, own in zip(kept, fitting, strict=True) if own == value]
    return kept, None


def telling(headers: Sequence[Dataset], positions: Sequence[Hashable]) -> Mapping[str, list[str]]:
    """The dimensions that tell headers at the same position apart, with the value of each header.

    A dimension has several values at a position, and each value at half of the positions at least: a number that
    differs from slice to slice, such as the time of its acquisition, is none.
    """
    where = list(dict.fromkeys(positions))
    found: dict[str, list[str]] = {}
    for name in DIMENSIONS:
        for values in dimension_values(headers, name):
            at = defaultdict(set)
            for value, position in zip(values, positions, strict=True):
                at[value].add(position)
            if sum(map(len, at.values())) > len(where) and all(2 * len(each) >= len(where) for each in at.values()):
                found[name] = values
                break
    return found


def example(values: Mapping[str, Sequence[str]], positions: Sequence[Hashable]) -> dict[str, str]:
    """A choice of values by which one image is left at each position: those of the last image, as few as suffice."""
    choice: dict[str, str] = {}
    kept: Sequence[int] = range(len(positions))
    for name, each in values.items():
        value = each[-1]
        fitting = [index for index in kept if each[index] == value]
        if len(fitting) < len(kept):
            choice[name], kept = value, fitting
        if len({positions[index] for index in kept}) == len(kept):
            break
    return choice
