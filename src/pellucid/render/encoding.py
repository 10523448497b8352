"""Encodes PNG files faster than Pillow does, at the cost of slightly larger files."""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np
from PIL import Image as Pillow

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {"L": 0, "RGB": 2}
_LEVEL = 1
"""The level of compression: the next one takes twice as long, and gives a file that is a twentieth smaller."""
_UP = 2
"""The filter "Up": the byte above is subtracted from each byte (PNG specification, 9.2)."""


def png(image: Pillow.Image) -> bytes:
    """An image (mode "L" or "RGB") as a PNG file, with one filter for all rows, compressed by libdeflate.

    Pillow tries five filters on every row and compresses with zlib, which takes four times as long for the overlay of
    a radiograph, and gives a file of about the same size.
    """
    levels = np.asarray(image)
    rows = levels.reshape(len(levels), -1)
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, _KINDS[image.mode], 0, 0, 0)
    packed = bytes(imagecodecs.deflate_encode(filtered.tobytes(), level=_LEVEL, raw=False))
    chunks = {b"IHDR": header, b"IDAT": packed, b"IEND": b""}
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks.items())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
