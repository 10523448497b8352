"""DICOMweb's message bodies (PS3.18, 8.7): an object as multipart/related, to send and as received."""

from __future__ import annotations

import secrets
from email.message import Message

_MAX_HEAD = 2**14
"""The most bytes of a part's headers."""


def encoded(content: bytes) -> tuple[str, bytes]:
    """The content type and the body of a message with one DICOM object."""
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join([head.encode(), content, f"\r\n--{boundary}--\r\n".encode()])
    return f'multipart/related; type="application/dicom"; boundary="{boundary}"', body


def decoded(content_type: str, body: bytes) -> bytes:
    """The one object in a message; a server may also send it without the multipart form.

    Raises:
        ValueError: the message holds no object, several objects or a part of one.
    """
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_type() == "application/dicom":
        return body
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/related" or not boundary:
        raise ValueError("a message of another type")
    marker = b"--" + boundary.encode("latin-1")
    start = body.find(marker)
    head = body.find(b"\r\n\r\n", start, start + _MAX_HEAD)
    end = body.find(b"\r\n" + marker, head + 2)
    if min(start, head, end) < 0:
        raise ValueError("an incomplete message")
    if not body.startswith(b"--", end + 2 + len(marker)):
        raise ValueError("a message of several parts")
    return body[head + 4 : max(end, head + 4)]
