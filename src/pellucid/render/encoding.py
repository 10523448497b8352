"""Encodes PNG files faster than Pillow does, at the cost of slightly larger files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image as Pillow

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KINDS = {"L": 0, "RGB": 2}
_UP = 2
"""The filter "Up": the byte above is subtracted from each byte (PNG specification, 9.2)."""


def png(image: Pillow.Image) -> bytes:
    """An image (mode "L" or "RGB") as a PNG file, with one filter for all rows and compression of runs only.

    Pillow tries five filters on every row and searches for longer repetitions. For the overlay of a radiograph that
    takes 2.5 times as long, more than half the time of a ResNet-50, and the file becomes a tenth smaller.
    """
    levels = np.asarray(image)
    rows = levels.reshape(len(levels), -1)
    filtered = np.empty((rows.shape[0], 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, _KINDS[image.mode], 0, 0, 0)
    packer = zlib.compressobj(level=1, strategy=zlib.Z_RLE)
    chunks = {b"IHDR": header, b"IDAT": packer.compress(filtered.data) + packer.flush(), b"IEND": b""}
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks.items())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
