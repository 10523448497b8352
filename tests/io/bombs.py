"""DICOM files of few bytes whose attributes take much time or memory to read, each made byte by byte."""

from __future__ import annotations

import struct
import zlib

EXPLICIT, IMPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
PIXELS = 16
_ENDLESS = 0xFFFFFFFF
_OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, _ENDLESS)
_END_OF_ITEM = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
_LONG = (b"OB", b"OW", b"SQ", b"UC", b"UN", b"UT")


def element(group: int, number: int, vr: bytes, value: bytes = b"", explicit: bool = True) -> bytes:
    value += b"\0" * (len(value) % 2)
    if not explicit:
        return struct.pack("<HHI", group, number, len(value)) + value
    if vr in _LONG:
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def endless(group: int, number: int, vr: bytes = b"SQ") -> bytes:
    """The head of a sequence without a stated length."""
    return struct.pack("<HH2sHI", group, number, vr, 0, _ENDLESS)


def file(*parts: bytes, syntax: str = EXPLICIT, frames: int = 1, meta: bytes = b"") -> bytes:
    """An image of 4 × 4 pixels with ``parts`` between its class and its description of the pixels."""
    explicit = syntax != IMPLICIT
    body = element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.7", explicit) + b"".join(parts)
    described = {0x02: 1, 0x10: 4, 0x11: 4, 0x100: 8, 0x101: 8, 0x102: 7, 0x103: 0}
    values = {number: (b"US", struct.pack("<H", value)) for number, value in described.items()}
    values |= {0x04: (b"CS", b"MONOCHROME2 "), 0x08: (b"IS", f"{frames:<6}".encode())}
    body += b"".join(element(0x28, number, *values[number], explicit) for number in sorted(values))
    body += element(0x7FE0, 0x10, b"OW", bytes(range(PIXELS)) * frames, explicit)
    if syntax == DEFLATED:
        body = zlib.compress(body, 9, -zlib.MAX_WBITS)
    return bytes(128) + b"DICM" + element(2, 0x10, b"UI", syntax.encode()) + meta + body


def empty(count: int) -> bytes:
    """Private elements without a value, each with a tag of its own."""
    return b"".join(element(9 + 2 * (number >> 16), number & 0xFFFF, b"LO") for number in range(count))


def nested(depth: int, size: int) -> bytes:
    """A sequence of stated length within itself, ``depth`` times, around ``size`` bytes."""
    value = element(0x28, 0x3006, b"OW", bytes(size))
    for _ in range(depth):
        value = element(8, 0x1140, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value)
    return value


_MANY = 5 * 2**17
BOMBS = {
    "elements": file(empty(20_000)),
    "the same element": file(struct.pack("<HH2sH", 9, 1, b"LO", 0) * 20_000),
    "items": file(endless(8, 0x1140), ITEM * 20_000, _END),
    "items within items": file((endless(8, 0x1140) + _OPEN_ITEM) * 150, ITEM * 20_000),
    "private items": file(endless(9, 0x1001, b"UN"), ITEM * 20_000, _END),
    "items of stated length": file(element(0x28, 0x3000, b"SQ", ITEM * _MANY)),
    "two sequences": file(element(8, 0x1140, b"SQ", ITEM * _MANY), element(0x28, 0x3010, b"SQ", ITEM * _MANY)),
    "implicit": file(element(8, 0x1140, b"", ITEM * _MANY, False), syntax=IMPLICIT),
    "unknown kind": file(element(8, 0x1140, b"UN", ITEM * _MANY)),
    "items in items of no length": file(
        endless(8, 0x1140), _OPEN_ITEM, element(8, 0x1140, b"SQ", ITEM * _MANY), _END_OF_ITEM, _END
    ),
    "meta information": file(meta=b"".join(element(2, 0x100 + number, b"LO") for number in range(20_000))),
    "command": file(meta=struct.pack("<HHI", 0, 0x900, 0) * 20_000),
    "deflated": file(empty(20_000), syntax=DEFLATED),
}
"""Each has more than 10,000 elements."""
