"""The fields of a protobuf message as they stand in its bytes, without its classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_LONGEST = 10
"""Bytes of a number."""


@dataclass(frozen=True)
class Field:
    """A field: its ``number``, all of its bytes, and what it holds: bytes (none of a fixed width), or a number."""

    number: int
    whole: memoryview
    content: memoryview
    value: int = 0


def fields(message: memoryview) -> Iterator[Field]:
    """Yield a message's fields in their order. ``ValueError``: it is no message."""
    at = 0
    while at < len(message):
        key, inside = _number(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, end = _number(message, inside)
            yield Field(number, message[at:end], message[:0], value)
        else:
            length, inside = _number(message, inside) if kind == BYTES else (_WIDTHS.get(kind, len(message)), inside)
            end = inside + length
            if end > len(message):
                raise ValueError("a field ends after its message")
            yield Field(number, message[at:end], message[inside:end] if kind == BYTES else message[:0])
        at = end


def field(number: int, length: int) -> bytes:
    """Return how a field of so many bytes begins.

    >>> field(9, 300).hex()
    '4aac02'
    """
    return _written(number << 3 | BYTES) + _written(length)


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a position, and where it ends."""
    value = 0
    for index, byte in enumerate(message[at : at + _LONGEST]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise ValueError("a number does not end")


def _written(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])
