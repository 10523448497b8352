"""Reads outlines that are written in the cells of a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pellucid.errors import DataError
from pellucid.evaluation.data.outlines import NO_BOX, Boxes, Polygons, RunLengths, StartLengths
from pellucid.evaluation.data.polygons import Point
from pellucid.io.refusal import one_line

_SEPARATOR = re.compile(r"[;|]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_BETWEEN = re.compile(r"[\s,()\[\]]*")
_NONE = ("", "nan", "none", "null", "na", "n/a", "<na>", "-1", "[]")
"""What tables have where there is no value; -1 is Kaggle's for no run length."""
_COMPRESSED = re.compile("[0-o]+")
"""COCO's characters: 6 bits from the code of 0 on."""
_BRACKETS = str.maketrans("()", "[]")
_BOX, _POINT = 4, 2
_MOST_DIGITS = 12


def is_none(cell: str) -> bool:
    """Whether a cell of an outline holds none."""
    return cell.strip().casefold() in _NONE


def listed(cell: str) -> list[str]:
    """What a cell lists, separated by semicolons or vertical bars; pandas' nan is nothing.

    >>> listed("effusion; nodule")
    ['effusion', 'nodule']
    """
    found = [part.strip() for part in _SEPARATOR.split(cell)]
    return [part for part in found if part and part.casefold() != "nan"]


def boxes_in(cell: str) -> Boxes:
    """Boxes that are written as their corners x0, y0, x1, y1, several separated by semicolons or in brackets.

    >>> boxes_in("10 20 30 40; 1,2,3,4").boxes
    ((10.0, 20.0, 30.0, 40.0), (1.0, 2.0, 3.0, 4.0))

    Raises:
        DataError: it holds other text than numbers, or these are no boxes.
    """
    numbers = [number for part in cell.split(";") for number in _numbers(part)]
    boxes = [tuple(numbers[at : at + _BOX]) for at in range(0, len(numbers), _BOX)]
    if not boxes or any(len(box) < _BOX or box[0] >= box[2] or box[1] >= box[3] for box in boxes):
        raise DataError(NO_BOX, _shown(cell))
    return Boxes(tuple(boxes))


def polygons_in(cell: str) -> Polygons:
    """Polygons of corners x, y in turn: several are separated by semicolons, or are lists of JSON, as COCO has them.

    >>> polygons_in("0 0, 4 0, 4 3; [[5, 5], [6, 5], [6, 6]]").polygons
    (((0.0, 0.0), (4.0, 0.0), (4.0, 3.0)), ((5.0, 5.0), (6.0, 5.0), (6.0, 6.0)))
    >>> len(polygons_in("[[0, 0, 4, 0, 4, 3], [5, 5, 6, 5, 6, 6]]").polygons)
    2

    Raises:
        DataError: it holds other text, or an odd number of numbers.
    """
    parts = (part.strip() for part in cell.split(";"))
    return Polygons(tuple(_corners(numbers, cell) for part in parts if part for numbers in _polygons(part)))


def runs_in(cell: str) -> RunLengths | StartLengths:
    """Run lengths, whose kind is known by their form.

    ``{"size": [H, W], "counts": …}`` is COCO's object, ``[…]`` a list of its counts, and text without spaces its
    compressed counts. Numbers with spaces between them are Kaggle's: first pixels, from 1, and numbers of pixels in
    turn. If the first pixels do not increase, they count from the end of the run before, as those of pneumothoraces in
    the SIIM-ACR challenge.

    >>> runs_in("[0, 3, 5]"), runs_in("2 2 6 1")
    (RunLengths(counts=(0, 3, 5), size=None), StartLengths(numbers=(2, 2, 6, 1), size=None))
    >>> runs_in("10 2 1 3")
    StartLengths(numbers=(11, 2, 14, 3), size=None)

    Raises:
        DataError: it has none of these forms.
    """
    text = cell.strip()
    if isinstance(value := _json(text), (dict, list)):
        return _coco(value, text)
    words = text.split()
    if len(words) == 1 and _COMPRESSED.fullmatch(text):  # which may begin with a bracket, too
        return RunLengths(text)
    if len(words) % 2 or not all(word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS for word in words):
        raise DataError("its run lengths are of no known form", _shown(cell))
    return StartLengths(_from_start([int(word) for word in words]))


def number_in(cell: str, has_comma: bool) -> float:
    """A number; with a decimal comma where a comma separates no cells. ``DataError``: it is none."""
    text = cell.strip().replace(",", ".", 1) if has_comma else cell.strip()
    if not _NUMBER.fullmatch(text):
        raise DataError("its box is no box of numbers", _shown(cell))
    return float(text)


def _from_start(numbers: Sequence[int]) -> tuple[int, ...]:
    """Pairs of a first pixel and a number of pixels whose first pixels count from the image's first one, which is 1."""
    starts, lengths = numbers[::2], numbers[1::2]
    if all(start + length <= after for start, length, after in zip(starts, lengths, starts[1:], strict=False)):
        return tuple(numbers)
    found: list[int] = []
    position = 1
    for start, length in zip(starts, lengths, strict=True):
        found += [position + start, length]
        position += start + length
    return tuple(found)


def _coco(value: Any, cell: str) -> RunLengths:
    counts = value.get("counts") if isinstance(value, dict) else value
    size = value.get("size") if isinstance(value, dict) else None
    is_size = size is None or (isinstance(size, list) and len(size) == _POINT and all(map(_is_whole, size)))
    if is_size and isinstance(counts, str):
        return RunLengths(counts, None if size is None else tuple(size))
    if not is_size or not isinstance(counts, list) or not all(map(_is_whole, counts)):
        raise DataError("its run lengths are of no known form", _shown(cell))
    return RunLengths(tuple(counts), None if size is None else tuple(size))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**_MOST_DIGITS


def _json(text: str) -> Any:
    """What JSON holds, None of other text."""
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _polygons(text: str) -> list[list[float]]:
    """The coordinates of the polygons in a text: of lists in lists each is one, unless they are pairs."""
    value = _json(text.translate(_BRACKETS))
    if not isinstance(value, list):
        return [_numbers(text)]
    lists = value if all(isinstance(one, list) for one in value) else [value]
    is_one = all(isinstance(one, list) and len(one) == _POINT and not isinstance(one[0], list) for one in lists)
    return [_numbers(json.dumps(one)) for one in ([lists] if is_one else lists)]


def _corners(numbers: Sequence[float], cell: str) -> tuple[Point, ...]:
    if len(numbers) % 2:
        raise DataError("its polygon has an odd number of coordinates", _shown(cell))
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _numbers(text: str) -> list[float]:
    """The numbers of a text that has nothing else but spaces, commas and brackets."""
    if _BETWEEN.sub("", _NUMBER.sub("", text)):
        raise DataError("its outline has other text than numbers", _shown(text))
    return [float(number) for number in _NUMBER.findall(text)]


def _shown(cell: str) -> str:
    return one_line(cell)[:60]
