"""A server on loopback that redirects, lies, drips, floods and truncates: one trick of the table at a time."""

from __future__ import annotations

import gzip
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

import pydicom
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tests.io.test_dicom import shipped

STUDY, SERIES, INSTANCE = "1.2.826.0.1.3680043.8.498.11", "1.2.826.0.1.3680043.8.498.12", "1.2.826.0.1.3680043.8.498.13"
PATIENT, TOKEN = "Hostilesecret", "s3cr3ttoken"
_PERIOD = 0.05
"""Seconds between two bytes of a drip."""


def an_object(study: str = STUDY, series: str = SERIES, instance: str = INSTANCE) -> bytes:
    made = pydicom.dcmread(shipped("CT_small.dcm"))
    made.PatientName = made.PatientID = PATIENT
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = instance
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@dataclass
class Exchange:
    """A request, and what is done to the client."""

    connection: socket.socket
    head: str
    port: int
    elsewhere: int

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.connection.sendall(part)

    def answer(self, status: str, body: bytes = b"", kind: str = "application/dicom+json", more: str = "") -> None:
        length = "" if "ransfer-" in more or "Length" in more else f"Content-Length: {len(body)}\r\n"
        self.send(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{length}{more}\r\n".encode(), body)

    def drip(self, content: bytes, stop: threading.Event) -> None:
        for byte in content:
            if stop.wait(_PERIOD):
                return
            self.send(bytes([byte]))

    def flood(self, content: bytes, start: bytes = b"") -> None:
        """Send without an end; the client ends it."""
        self.send(start)
        while True:
            self.send(content)

    @property
    def path(self) -> str:
        return self.head.split()[1]


Trick = Callable[[Exchange, threading.Event], None]


def redirect(status: str, location: str) -> Trick:
    def trick(one: Exchange, stop: threading.Event) -> None:
        where = location.format(port=one.port, elsewhere=one.elsewhere, path=one.path)
        one.answer(status, more=f"Location: {where}\r\n")

    return trick


def answer(
    status: str, body: bytes | Callable[[], bytes] = b"", kind: str = "application/dicom+json", more: str = ""
) -> Trick:
    return lambda one, stop: one.answer(status, body() if callable(body) else body, kind, more)


def drip(start: bytes, slowly: bytes) -> Trick:
    def trick(one: Exchange, stop: threading.Event) -> None:
        one.send(start)
        one.drip(slowly, stop)

    return trick


def flood(start: bytes, content: bytes) -> Trick:
    return lambda one, stop: one.flood(content, start)


def cut(content: bytes) -> Trick:
    return lambda one, stop: one.send(content)


def reset(one: Exchange, stop: threading.Event) -> None:
    one.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(one: Exchange, stop: threading.Event) -> None:
    stop.wait()


def after_a_hop(trick: Trick) -> Trick:
    return lambda one, stop: (trick if "hop" in one.path else redirect("302 Found", "/hop"))(one, stop)


def fresh_for_ever(one: Exchange, stop: threading.Event) -> None:
    offset = int(one.path.partition("offset=")[2])
    one.answer("200 OK", matches([f"1.2.{offset}"]))


def stored(*uids: str, failed: tuple[str, ...] = ()) -> bytes:
    def items(found: tuple[str, ...]) -> list[object]:
        return [{"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [272]}} for uid in found]

    answer = {"00081199": {"vr": "SQ", "Value": items(uids)}, "00081198": {"vr": "SQ", "Value": items(failed)}}
    return json.dumps(answer).encode()


def matches(uids: list[str], series: str = SERIES) -> bytes:
    values = [("0020000E", "UI", [series]), ("00080016", "UI", ["1.2.840.10008.5.1.4.1.1.2"]), ("00280010", "US", [8])]
    same = {tag: {"vr": vr, "Value": value} for tag, vr, value in values}
    return json.dumps([{**same, "00080018": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()


_RELATED = 'multipart/related; type="application/dicom"; boundary=b'


def parts(*contents: bytes, end: bytes = b"\r\n--b--\r\n") -> bytes:
    return b"".join(b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + one for one in contents) + end


def retrieved(body: bytes | Callable[[], bytes], kind: str = _RELATED, more: str = "") -> Trick:
    return answer("200 OK", body, kind, more)


@cache
def deflated_bomb() -> bytes:
    """An object of 320 MiB when it is inflated, of 0.3 as it is sent."""
    made = pydicom.dcmread(io.BytesIO(an_object()))
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.PixelData = b""
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    meta = buffer.getvalue().index(b"1.2.840.10008.1.2.1.99") + 22
    after = buffer.getvalue()[meta:]
    start = meta + next(i for i in range(200) if _inflates(after[i:]))
    return buffer.getvalue()[:start] + _zeros(5 * 2**26, -zlib.MAX_WBITS)


def _inflates(content: bytes) -> bool:
    with suppress(zlib.error):
        return len(zlib.decompress(content, -zlib.MAX_WBITS)) > 100
    return False


def _zeros(count: int, wbits: int) -> bytes:
    made, block = zlib.compressobj(9, zlib.DEFLATED, wbits), bytes(2**24)
    return b"".join([*(made.compress(block) for _ in range(count // len(block))), made.flush()])


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_LONG = b" " * 10_000
_OTHER = "http://127.0.0.1:{elsewhere}/x"

STORES: dict[str, Trick] = {
    **{f"redirects {status}": redirect(f"{status} Moved", _OTHER) for status in (301, 302, 303, 307, 308)},
    "redirects within": redirect("307 Temporary Redirect", "http://127.0.0.1:{port}/other"),
    "redirects to another name": redirect("307 Temporary Redirect", "http://localhost:{port}{path}"),
    "redirects to another scheme": redirect("308 Permanent Redirect", "https://127.0.0.1:{port}{path}"),
    "redirects without a scheme": redirect("307 Temporary Redirect", "//127.0.0.1:{elsewhere}/x"),
    "redirects to a user": redirect("307 Temporary Redirect", "http://127.0.0.1:{port}@127.0.0.1:{elsewhere}/x"),
    "redirects nowhere": redirect("307 Temporary Redirect", "http://[/"),
    "redirects without a place": answer("307 Temporary Redirect"),
    "names the token in a redirect": redirect("302 Found", f"http://{TOKEN}.example.org/{PATIENT}"),
    "offers a choice": redirect("300 Multiple Choices", _OTHER),
    "refreshes": answer("200 OK", b"<html>", "text/html", "Refresh: 0; url=http://127.0.0.1:1/\r\n"),
    "shows a login": answer("200 OK", b"<html><form>", "text/html"),
    "stores nothing": answer("200 OK", b"{}"),
    "says nothing": answer("200 OK"),
    "has no content": answer("204 No Content"),
    "has accepted": answer("202 Accepted", b"{}"),
    "has a part": answer("206 Partial Content", stored(INSTANCE)),
    "is not modified": answer("304 Not Modified"),
    "stored another": answer("200 OK", stored("1.2.3")),
    "stored one that begins so": answer("200 OK", stored(INSTANCE + "1", INSTANCE[:-1])),
    "stored and failed": answer("200 OK", stored(INSTANCE, failed=(INSTANCE,))),
    "failed": answer("200 OK", stored(failed=(INSTANCE,))),
    "is null": answer("200 OK", b"null"),
    "is a number": answer("200 OK", b"1" * 5000),
    "is a list": answer("200 OK", json.dumps([INSTANCE]).encode()),
    "is nested": answer("200 OK", b"[" * 100_000),
    "has no items": answer("200 OK", b'{"00081199": {"Value": {"a": 1}}}'),
    "is XML": answer("200 OK", f"<NativeDicomModel>{INSTANCE}</NativeDicomModel>".encode(), "application/dicom+xml"),
    "names the patient": answer(f"500 {PATIENT} {TOKEN}", f"{PATIENT} {TOKEN}".encode(), "text/plain"),
    "compresses": answer("200 OK", gzip.compress(stored(INSTANCE)), more="Content-Encoding: gzip\r\n"),
    "compresses often": answer("200 OK", b"x", more="Content-Encoding: " + "gzip, " * 1000 + "gzip\r\n"),
    "inflates": answer("200 OK", lambda: _zeros(2**27, 31), more="Content-Encoding: gzip\r\n"),
    "has a length below zero": answer("200 OK", stored("1"), more="Content-Length: -1\r\n"),
    "drips a status": drip(b"", b"HTTP/1.1 " + _LONG),
    "drips headers": drip(_OK, b"X: y\r\n" * 90 + _LONG),
    "drips a body": drip(_OK + b"Content-Length: 100000\r\n\r\n", _LONG),
    "drips to the end": drip(_OK + b"\r\n", _LONG),
    "drips chunks": drip(_CHUNKED, b"1\r\n \r\n" * 10_000),
    "drips a chunk's size": drip(_CHUNKED, b"0" * 10_000),
    "is silent": silent,
    "continues for ever": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "floods": flood(_OK + b"\r\n", bytes(2**20)),
    "floods chunks": flood(_CHUNKED, b"100000\r\n" + bytes(2**20) + b"\r\n"),
    "floods a chunk's size": flood(_CHUNKED, b"0" * 2**20),
    "floods trailers": flood(_CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000),
    "floods headers": flood(_OK, b"X: y\r\n" * 10_000),
    "floods a header": flood(_OK + b"X: ", b"y" * 2**20),
    "floods a status": flood(b"HTTP/1.1 200 ", b"y" * 2**20),
    "claims a length": answer("200 OK", b"x", more=f"Content-Length: {2**62}\r\n"),
    "claims a chunk": cut(_CHUNKED + b"FFFFFFFFFFFF\r\nx"),
    "truncates a status": cut(b"HTTP/1.1 20"),
    "truncates headers": cut(_OK),
    "truncates a body": cut(_OK + b"Content-Length: 100000\r\n\r\n" + stored(INSTANCE)),
    "truncates chunks": cut(_CHUNKED + b"1000\r\n" + stored(INSTANCE)),
    "sends nothing": cut(b""),
    "resets": reset,
    "speaks another language": cut(b"SSH-2.0-OpenSSH_9.2\r\n"),
}
"""What is done to a client that stores an object. None of these servers has stored it."""

SEARCHES: dict[str, Trick] = {
    "finds elsewhere": redirect("302 Found", _OTHER),
    "finds elsewhere after a hop": after_a_hop(redirect("302 Found", _OTHER)),
    "finds in a circle": redirect("302 Found", "{path}"),
    "finds for ever": fresh_for_ever,
    "finds a path": answer("200 OK", matches(["../../x"])),
    "finds another instance": answer("200 OK", matches(["1.2.3"])),
    "finds text": answer("200 OK", json.dumps([PATIENT] * 3).encode()),
    "finds a page": answer("200 OK", b"<html>", "text/html"),
    "finds very many": answer("200 OK", lambda: b"[" + b"{}," * 5_000_000 + b"{}]"),
    "finds too much": answer("200 OK", lambda: b"[" + b"{}," * 6_000_000 + b"{}]"),
    "finds slowly": drip(_OK + b"\r\n", b"[" + _LONG),
    "finds a flood": flood(_OK + b"\r\n[", b"{}," * 2**18),
}
"""What is done to a client that searches."""

HONEST: dict[str, dict[str, Trick]] = {
    "store": {"stores": answer("200 OK", stored(INSTANCE))},
    "retrieve": {
        "gives": retrieved(parts(an_object())),
        "gives without parts": retrieved(an_object(), "application/dicom"),
        "gives after a hop": after_a_hop(retrieved(parts(an_object()))),
    },
}
"""What honest servers do."""

RETRIEVALS: dict[str, Trick] = {
    "gives elsewhere": redirect("307 Temporary Redirect", _OTHER),
    "gives another instance": retrieved(parts(an_object(instance="1.2.3"))),
    "gives another series": retrieved(parts(an_object(series="1.2.3"))),
    "gives another study": retrieved(parts(an_object(study="1.2.3"))),
    "gives two": retrieved(parts(an_object(), an_object())),
    "gives none": retrieved(parts()),
    "gives many": retrieved(lambda: parts(*[b""] * 300_000)),
    "gives a long head": retrieved(b"--b\r\nX: " + bytes(2**20) + parts(an_object())),
    "gives no boundary": retrieved(parts(an_object()), "multipart/related"),
    "gives another boundary": retrieved(parts(an_object()), _RELATED + "c"),
    "gives a page": retrieved(b"<html>", "text/html"),
    "gives text": retrieved(parts(PATIENT.encode())),
    "gives half": retrieved(parts(an_object(), end=b"")),
    "gives a bomb": retrieved(lambda: parts(deflated_bomb())),
    "gives compressed": retrieved(gzip.compress(parts(an_object())), more="Content-Encoding: gzip\r\n"),
    "gives a flood": flood(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n", bytes(2**20)),
    "gives slowly": drip(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom\r\n\r\n", _LONG),
}
"""What is done to a client that retrieves an object that it has found."""

TRICKS = [("store", name) for name in STORES] + [("search", name) for name in SEARCHES]
TRICKS += [("retrieve", name) for name in RETRIEVALS]


@dataclass
class Hostile:
    """A running server: its port, what reached the other place, and the heads of the requests that it got."""

    port: int
    stray: list[bytes] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)


@contextmanager
def hostile(asked: str, name: str) -> Iterator[Hostile]:
    """A server that does one trick to every client, beside the other place, where nothing may arrive."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("127.0.0.1", 0)) as other:
        made = Hostile(here.getsockname()[1])
        elsewhere = other.getsockname()[1]

        def respond(connection: socket.socket) -> None:
            with suppress(OSError, ValueError), connection:
                exchange = Exchange(connection, _head(connection), made.port, elsewhere)
                made.heads.append(exchange.head)
                _trick(asked, name, exchange)(exchange, stop)

        threads = [
            threading.Thread(target=_accepting, args=(here, respond), daemon=True),
            threading.Thread(target=_accepting, args=(other, lambda one: made.stray.append(one.recv(64))), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            stop.set()
            for listening in (here, other):
                listening.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def _trick(asked: str, name: str, one: Exchange) -> Trick:
    if asked == "retrieve" and "?" in one.path:  # the search for what is retrieved
        return answer("200 OK", matches([INSTANCE]))
    tables = [{"store": STORES, "search": SEARCHES, "retrieve": RETRIEVALS}[asked], HONEST.get(asked, {})]
    return next(table[name] for table in tables if name in table)


def _accepting(listening: socket.socket, respond: Callable[[socket.socket], None]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=respond, args=(connection,), daemon=True).start()


def _head(connection: socket.socket) -> str:
    """Read a request with its body, and return its head."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += _some(connection)
    return head.decode("latin-1")


def _some(connection: socket.socket) -> bytes:
    received = connection.recv(2**16)
    if not received:
        raise ValueError("the client has gone")
    return received
