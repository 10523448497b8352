"""Fetching and sending: addresses, retries, resuming, and errors of one line for whatever a server does."""

from __future__ import annotations

import io
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from typer.testing import Result

from pellucid.errors import ImageError, OptionError, PellucidWarning, TransferError
from pellucid.pacs import dimse
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.dicomweb import Server, parse_resource
from pellucid.pacs.dimse import Node, Sender, parse_node
from pellucid.pacs.fetching import fetch
from pellucid.pacs.pushing import LEDGER, Ledger, objects, push
from tests.cli.conftest import one_line
from tests.io.test_dicom import shipped

Command = Callable[..., Result]
UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with two DICOM objects and a PNG file."""
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(shipped("CT_small.dcm"), folder / "a.dcm")
    shutil.copy(shipped("MR_small.dcm"), folder / "b.dcm")
    (folder / "a_overlay.png").write_bytes(b"\x89PNG")
    return folder


def stored(body: bytes) -> bytes:
    """The answer of an archive that stored the object in the body of a request."""
    content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    uid = str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    return json.dumps({"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ", "Value": [item]}}).encode()


class Responding(BaseHTTPRequestHandler):
    """Sends the responses that its server holds, in turn, and records the requests."""

    def _respond(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        code, answer = self.server.responses.pop(0)
        body = answer(sent) if callable(answer) else answer
        self.send_response(code)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _respond  # noqa: N815  # as http.server calls them

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Responding)
    made.requests, made.responses = [], []
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/dicom-web"


def unencrypted(server: ThreadingHTTPServer) -> Server:
    with pytest.warns(PellucidWarning, match="the token is sent without encryption"):
        return Server(url(server), ServerAccess(token="secret", retries=0))


def test_addresses() -> None:
    whole = parse_resource(f"dicomweb://pacs.example.org/rs/studies/{UID}", ServerAccess())
    assert (whole.server.url, whole.study, whole.series) == ("https://pacs.example.org/rs", UID, None)
    one = parse_resource(f"dicomweb+http://h:8042/dicom-web/studies/{UID}/series/1.2/instances/3.4", ServerAccess())
    assert (one.server.url, one.series, one.instance) == ("http://h:8042/dicom-web", "1.2", "3.4")


@pytest.mark.parametrize(
    "address",
    [
        "dicomweb://pacs.example.org/rs",
        "dicomweb://pacs.example.org/studies/abc",
        f"https://pacs.example.org/studies/{UID}",
        f"dicomweb:///studies/{UID}",
        f"dicomweb://user:secret@pacs.example.org/studies/{UID}",
        f"dicomweb://h/studies/{UID}/../../x",
    ],
)
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_resource(address, ServerAccess())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["pacs", "pacs:", ":104", "pacs:x", "pacs:70000"])
def test_invalid_nodes_are_refused(address: str) -> None:
    with pytest.raises(OptionError, match="HOST:PORT"):
        parse_node(address, "A", "B", False, ServerAccess())


@pytest.mark.parametrize("title", ["", "x" * 17, "ä", "a\\b"])
def test_invalid_titles_are_refused(title: str) -> None:
    with pytest.raises(OptionError, match="1 to 16"):
        Node("h", 104, title)


def test_only_errors_that_may_pass_are_retried() -> None:
    requests = []

    def ask(retry: bool, times: int) -> str:
        requests.append(1)
        if len(requests) <= times:
            raise TransferError("busy", retry=retry)
        return "done"

    access = ServerAccess(retries=3, wait=0)
    assert access.retried(lambda: ask(True, 3)) == "done"
    requests.clear()
    with pytest.raises(TransferError):
        access.retried(lambda: ask(True, 4))
    assert len(requests) == 4
    requests.clear()
    with pytest.raises(TransferError):
        access.retried(lambda: ask(False, 1))
    assert len(requests) == 1


def test_accepted_files_are_not_sent_again(results: Path) -> None:
    paths = objects(results)
    assert [path.name for path in paths] == ["a.dcm", "b.dcm"]
    accepted: list[str] = []

    def store(path: Path) -> None:
        if path.name == "b.dcm" and len(accepted) < 2:
            accepted.append("failed")
            raise TransferError("the server rejects b.dcm")
        accepted.append(path.name)

    def send(server: str) -> list[tuple[bool, bool]]:
        sent = push(paths, store, Ledger.of(results, server), ServerAccess(retries=0))
        return [(one.skipped, one.error is not None) for one in sent]

    assert send("one") == [(False, False), (False, True)]
    assert send("one") == [(True, False), (False, False)]
    assert send("one") == [(True, False), (True, False)]
    assert send("other") == [(False, False), (False, False)]
    assert str(pydicom.dcmread(paths[0]).PatientID) not in (results / LEDGER).read_text()
    (results / LEDGER).write_text("{broken")
    assert send("one") == [(False, False), (False, False)]


def test_folders_without_objects_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match="--export"):
        objects(tmp_path)


@pytest.mark.parametrize(
    ("code", "body", "words", "retry"),
    [
        (401, b"", "HTTP status 401: give --token-file", False),
        (503, b"", "HTTP status 503", True),
        (200, b"not json", "the response is not valid JSON", False),
        (200, b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}', "0x0110", False),
    ],
)
def test_rejected_objects(
    server: ThreadingHTTPServer, results: Path, code: int, body: bytes, words: str, retry: bool
) -> None:
    server.responses.append((code, body))
    with pytest.raises(TransferError, match=words) as caught:
        unencrypted(server).store(results / "a.dcm")
    assert caught.value.retry is retry
    assert "secret" not in str(caught.value)
    assert server.requests[0][2]["Authorization"] == "Bearer secret"


def test_an_unreachable_server(results: Path) -> None:
    with pytest.raises(TransferError, match="cannot be reached") as caught:
        Server("http://127.0.0.1:9/dicom-web").store(results / "a.dcm")
    assert caught.value.retry


def test_pushing_by_the_command_line(
    pellucid: Command,
    server: ThreadingHTTPServer,
    results: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "token").write_text("abc\n")
    server.responses += [(503, b""), (200, stored), (409, b"")]
    result = pellucid("push", results, "--dicomweb", url(server), "--token-file", tmp_path / "token", "--retries", 1)
    assert result.exit_code == 1
    warned, failed = result.stderr.splitlines()
    assert "the token is sent without encryption" in warned
    assert "HTTP status 409" in failed
    assert "1 sent, 1 failed" in result.stdout
    server.responses += [(200, stored)]
    result = pellucid("push", results, "--dicomweb", url(server), "--token-file", tmp_path / "token")
    assert (result.exit_code, result.stdout) == (0, "1 sent, 1 sent before\n")
    assert [request[2]["Authorization"] for request in server.requests] == ["Bearer abc"] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "or two"),
        (["--dicomweb", "http://h", "--dicom", "h:104"], "or two"),
        (["--dicomweb", "ftp://h"], "begins with https"),
        (["--dicom", "h"], "HOST:PORT"),
        (["--dicomweb", "http://h", "--ca", "none.pem"], "no such file"),
        (["--dicomweb", "http://h", "--token-file", "none"], "cannot be read"),
    ],
)
def test_wrong_use(pellucid: Command, results: Path, arguments: list[str], words: str) -> None:
    result = pellucid("push", results, *arguments)
    assert result.exit_code == 2
    one_line(result, words)


@pytest.fixture
def archive() -> Iterator[tuple[int, list[str]]]:
    """A node on loopback that accepts CT: its port, and the UIDs that it accepted."""
    accepted: list[str] = []

    def store(event: evt.Event) -> int:
        accepted.append(str(event.dataset.SOPInstanceUID))
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage)
    entity.require_called_aet = True
    made = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    yield made.server_address[1], accepted
    made.shutdown()


def test_a_node_accepts_only_known_classes(archive: tuple[int, list[str]], pellucid: Command, results: Path) -> None:
    port, accepted = archive
    result = pellucid("push", results, "--dicom", f"127.0.0.1:{port}", "--aec", "ARCHIVE", "--retries", 0)
    assert result.exit_code == 1
    assert "1 sent, 1 failed" in result.stdout
    assert "b.dcm" in one_line(result)
    assert accepted == [str(pydicom.dcmread(results / "a.dcm").SOPInstanceUID)]
    refused = pellucid("push", results, "--dicom", f"127.0.0.1:{port}", "--aec", "OTHER")
    assert refused.exit_code == 3
    one_line(refused, "rejects the association")


@pytest.mark.parametrize(
    ("status", "is_stored"),
    [
        *((status, True) for status in (0x0000, 0xB000, 0xB007)),
        *((status, False) for status in (0xA700, 0xC000, 0x0110, 0x0122, 0xFF00, 0xFE00, 0x0001)),
    ],
)
def test_only_a_nodes_success_counts(status: int, is_stored: bool, pellucid: Command, results: Path) -> None:
    (results / "b.dcm").unlink()
    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage)
    made = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: status)])
    try:
        result = pellucid("push", results, "--dicom", f"127.0.0.1:{made.server_address[1]}", "--retries", 0)
    finally:
        made.shutdown()
    assert result.stdout == ("1 sent\n" if is_stored else "0 sent, 1 failed\n"), result.stderr
    assert (results / LEDGER).exists() == is_stored


@pytest.mark.parametrize(
    ("start", "rest", "period"),
    [
        (b"\2\0\xff\xff\xff\xff", bytes(2**20), 0.0),
        (b"\2\0\0\0\xff\xff", b"\0", 0.1),
        (b"", b"HTTP/1.1 200 OK\r\n", 0.1),
        (b"", b"", 0.1),
    ],
    ids=["floods", "drips", "speaks another language", "is silent"],
)
def test_hostile_nodes(
    start: bytes, rest: bytes, period: float, pellucid: Command, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dimse, "_TIMEOUT", 1)
    sent = [0]

    def serve(listening: socket.socket) -> None:
        with suppress(OSError), listening.accept()[0] as connection:
            connection.recv(2**16)
            connection.sendall(start)
            while not over.wait(period):
                connection.sendall(rest)
                sent[0] += len(rest)

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        result = pellucid("push", results, "--dicom", f"127.0.0.1:{listening.getsockname()[1]}", "--retries", 0)
        over.set()
        thread.join()
    assert result.exit_code == 3
    one_line(result, "cannot be reached")
    assert sent[0] < 2**25


def test_an_unreachable_node(pellucid: Command, results: Path) -> None:
    result = pellucid("push", results, "--dicom", "127.0.0.1:9", "--retries", 0)
    assert result.exit_code == 3
    one_line(result, "cannot be reached")


def test_an_unreachable_archive_is_not_tried_for_each_file(pellucid: Command, results: Path) -> None:
    result = pellucid("push", results, "--dicomweb", "http://127.0.0.1:9/dicom-web", "--retries", 0)
    assert (result.exit_code, result.stdout) == (3, "0 sent, 1 failed, 1 not tried\n")
    one_line(result, "cannot be reached")


def test_an_aborted_association_is_renewed(pellucid: Command, results: Path) -> None:
    shutil.copy(results / "a.dcm", results / "c.dcm")
    (results / "b.dcm").unlink()
    requests: list[int] = []

    def store(event: evt.Event) -> int:
        requests.append(1)
        if len(requests) == 1:
            event.assoc.abort()
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage)
    made = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        result = pellucid("push", results, "--dicom", f"127.0.0.1:{made.server_address[1]}", "--retries", 2)
    finally:
        made.shutdown()
    assert result.exit_code == 0, result.stderr
    assert len(requests) >= 2


def test_broken_files_are_reported_and_the_others_sent(
    archive: tuple[int, list[str]], pellucid: Command, results: Path
) -> None:
    (results / "b.dcm").write_bytes(bytes(128) + b"DICM" + b"broken")
    result = pellucid("push", results, "--dicom", f"127.0.0.1:{archive[0]}", "--aec", "ARCHIVE")
    assert "1 sent, 1 failed" in result.stdout
    one_line(result, "b.dcm: the DICOM file is broken")


def crowded(path: Path) -> Path:
    """A CT with 7,000 elements more."""
    found = pydicom.dcmread(shipped("CT_small.dcm"))
    for number in range(7_000):
        found.add_new((9, 0x1000 + number), "LO", "")
    found.save_as(path)
    return path


def test_a_file_beyond_the_bounds_is_not_sent_until_they_are_raised(
    server: ThreadingHTTPServer,
    archive: tuple[int, list[str]],
    pellucid: Command,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uid = str(pydicom.dcmread(crowded(results / "b.dcm")).SOPInstanceUID)
    (results / "a.dcm").unlink()
    message = "b.dcm: the DICOM file is not sent: its header holds more than 6,553 elements: set the environment"
    node, service = ("--dicom", f"127.0.0.1:{archive[0]}", "--aec", "ARCHIVE"), ("--dicomweb", url(server))
    monkeypatch.setenv("PELLUCID_MAX_GIB", "0.05")
    for way in (node, service):
        refused = pellucid("push", results, *way)
        assert refused.exit_code == 3
        one_line(refused, f"{message} variable PELLUCID_MAX_GIB=0.1")
    assert (archive[1], server.requests) == ([], [])
    monkeypatch.setenv("PELLUCID_MAX_GIB", "0.1")
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    server.responses += [(200, json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode())]
    for way in (node, service):
        assert pellucid("push", results, *way).stdout == "1 sent\n"
    assert (archive[1], len(server.requests)) == ([uid], 1)


def test_elements_behind_the_pixels_count_too(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = pydicom.dcmread(results / "a.dcm")
    for number in range(7_000):
        found.add_new((0x7FE1, 0x1000 + number), "LO", "")
    found.save_as(results / "a.dcm")
    monkeypatch.setenv("PELLUCID_MAX_GIB", "0.05")
    with pytest.raises(TransferError, match=r"a.dcm: the DICOM file is not sent: its header holds more than 6,553"):
        Sender(Node("127.0.0.1", 104), []).store(results / "a.dcm")


@pytest.mark.parametrize("name", ["MR_small_implicit", "MR_small_bigendian", "image_dfl", "JPEG2000"])
def test_objects_are_sent_as_they_are(name: str) -> None:
    path = shipped(f"{name}.dcm")
    expected = pydicom.dcmread(path)
    accepted: list[pydicom.Dataset] = []

    def store(event: evt.Event) -> int:
        event.dataset.file_meta = event.file_meta
        accepted.append(event.dataset)
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(expected.SOPClassUID, [expected.file_meta.TransferSyntaxUID])
    made = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        with Node("127.0.0.1", made.server_address[1]).sender([path]) as sender:
            sender.store(path)
    finally:
        made.shutdown()
    assert accepted[0].file_meta.TransferSyntaxUID == expected.file_meta.TransferSyntaxUID
    assert accepted[0] == expected


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--dicom", "nohost.invalid:104", "--retries", "0"], "cannot be reached", 3),
        (["--dicom", "127.0.0.1:9", "--tls", "--ca", "FILE"], "not a certificate", 2),
        (["--dicom", "127.0.0.1:9", "--ca", "FILE"], "without --tls", 2),
        (["--dicomweb", "https://h", "--key", "FILE"], "without its certificate", 2),
        (["--dicomweb", "https://[x/d"], "begins with https", 2),
    ],
)
def test_errors_are_one_line(pellucid: Command, results: Path, arguments: list[str], words: str, code: int) -> None:
    given = [str(results / "a_overlay.png") if one == "FILE" else one for one in arguments]
    result = pellucid("push", results, *given)
    assert result.exit_code == code
    one_line(result, words)


def found(count: int, offset: int = 0) -> bytes:
    one = {"00080018": {"vr": "UI", "Value": [""]}, "00280010": {"vr": "US", "Value": [8]}}
    listed = [{**one, "00080018": {"vr": "UI", "Value": [f"1.2.{offset + index}"]}} for index in range(count)]
    return json.dumps(listed).encode()


def test_a_server_that_ignores_offsets_ends_the_search(server: ThreadingHTTPServer) -> None:
    server.responses += [(200, found(3)), (200, found(3))]
    listed = parse_resource(
        f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2/series/3.4", ServerAccess()
    ).instances()
    assert listed == [("3.4", f"1.2.{index}") for index in range(3)]
    assert len(server.requests) == 2
    server.responses += [(200, found(3)), (200, found(2, 3)), (200, b"[]")]
    assert (
        len(
            parse_resource(
                f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2/series/3.4", ServerAccess()
            ).instances()
        )
        == 5
    )
    server.responses += [(200, found(1)), (200, b"[]")]
    with pytest.raises(TransferError, match="the response is broken"):  # the matches lack the UID of their series
        parse_resource(f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2", ServerAccess()).instances()


def test_a_folder_of_another_study_is_refused(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    other = tmp_path / "series-1" / "0001.dcm"
    other.parent.mkdir()
    shutil.copy(shipped("CT_small.dcm"), other)
    server.responses += [(200, found(1)), (200, b"[]")]
    at = parse_resource(
        f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2/series/3.4", ServerAccess(retries=0)
    )
    with pytest.raises(OptionError, match="another study"):
        list(fetch(at, tmp_path))
    assert other.read_bytes() == shipped("CT_small.dcm").read_bytes()
