"""COCO's run-length encoding of a mask, decoded: runs of 0 and 1 in turn, column after column, beginning with 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import OptionError, ShapeError

KEYS = frozenset({"size", "counts"})
_FIRST, _BITS, _MORE, _SIGN = ord("0"), 5, 0x20, 0x10
_MOST_DIGITS = 7
"""A run's length takes at most this many characters: 2³⁴ pixels."""


def decoded(encoded: Mapping[str, Any], space: Sequence[int]) -> Tensor:
    """The mask (H, W) bool of ``{"size": [H, W], "counts": …}``: a list of lengths, or COCO's compressed text of them.

    Nothing is allocated before the size is found to be the image's, so the memory is bounded by the image and the text.

    >>> decoded({"size": [2, 3], "counts": [1, 2, 3]}, (2, 3)).int()
    tensor([[0, 1, 0],
            [1, 0, 0]], dtype=torch.int32)

    Raises:
        ShapeError: the size is not the image's.
        OptionError: the counts are none, or do not add up to the size.
    """
    height, width = _size(encoded["size"], space)
    runs = list(_runs(encoded["counts"], height * width))
    flags = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return torch.from_numpy(np.ascontiguousarray(flags.reshape(width, height).T))


def is_empty(counts: Any) -> bool:
    """Whether no run of 1 has a pixel, by the counts alone; counts that are broken are not empty.

    >>> is_empty([6]), is_empty([1, 2, 3]), is_empty([3, 0, 3])
    (True, False, True)
    """
    try:
        return not any(run and number % 2 for number, run in enumerate(_lengths(counts)))
    except OptionError:
        return False


def _size(given: Any, space: Sequence[int]) -> tuple[int, int]:
    size = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(size, (list, tuple)) or tuple(size) != tuple(space) or len(space) != 2:
        shown = tuple(size[:3]) if isinstance(size, (list, tuple)) else type(given).__name__
        raise ShapeError(
            f"a mask in run-length encoding of size {shown} was given; the images are {tuple(space)}: "
            "encode it at the size of the model's input (2-D)"
        )
    return int(size[0]), int(size[1])


def _runs(counts: Any, total: int) -> Iterator[int]:
    """The lengths of the runs, which add up to ``total``."""
    left = total
    for number, run in enumerate(_lengths(counts)):
        if not 0 <= run <= left or number > 2 * total + 1:
            raise OptionError(
                f"a mask in run-length encoding was given whose run {number} is negative or too long; the runs of an "
                f"image of {total} pixels add up to that: encode the mask again"
            )
        left -= run
        yield run
    if left:
        raise OptionError(
            f"a mask in run-length encoding was given whose runs add up to {total - left} pixels; the image has {total}"
        )


def _lengths(counts: Any) -> Iterator[int]:
    """The lengths as they are written: a list of numbers, or compressed text."""
    if isinstance(counts, (str, bytes)):
        yield from _decompressed(counts)
        return
    if not isinstance(counts, (list, tuple, np.ndarray, Tensor)):
        raise OptionError(
            f"a mask in run-length encoding was given with counts of type {type(counts).__name__}; "
            "write a list of numbers or COCO's text"
        )
    for count in counts:
        if isinstance(count, (bool, float)) or not hasattr(count, "__index__"):
            raise OptionError(
                f"a mask in run-length encoding was given with a count of type {type(count).__name__}; "
                "counts are whole numbers"
            )
        yield count.__index__()


def _decompressed(text: str | bytes) -> Iterator[int]:
    """The numbers in COCO's text: digits of 5 bits, lowest first; from the fourth on, differences to two before."""
    before: list[int] = []
    value = digits = 0
    for code in text if isinstance(text, bytes) else map(ord, text):
        digit = code - _FIRST
        if not 0 <= digit < 64 or digits == _MOST_DIGITS:
            raise OptionError(
                f"a mask in run-length encoding was given whose text has {chr(code)!r} where no count goes on: "
                "give the counts as COCO's tools wrote them"
            )
        value |= (digit & 0x1F) << (_BITS * digits)
        digits += 1
        if digit & _MORE:
            continue
        if digit & _SIGN:
            value -= 1 << (_BITS * digits)
        before.append(value + (before[-2] if len(before) > 2 else 0))
        del before[:-3]
        yield before[-1]
        value = digits = 0
    if digits:
        raise OptionError("a mask in run-length encoding was given whose text ends within a count: it was cut off")
