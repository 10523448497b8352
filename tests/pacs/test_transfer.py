"""What is sent and fetched: addresses, patience, resuming, and one line for whatever a server does."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from typer.testing import Result

from pellucid.errors import ImageError, OptionError, TransferError
from pellucid.pacs.dicomweb import Access, Server, place
from pellucid.pacs.dimse import Node, node
from pellucid.pacs.fetching import fetched
from pellucid.pacs.pushing import LEDGER, Ledger, objects, patiently, pushed
from tests.cli.conftest import one_line
from tests.io.test_dicom import shipped

Command = Callable[..., Result]
UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with two objects, and what is none."""
    folder = tmp_path / "results"
    folder.mkdir()
    shutil.copy(shipped("CT_small.dcm"), folder / "a.dcm")
    shutil.copy(shipped("MR_small.dcm"), folder / "b.dcm")
    (folder / "a_overlay.png").write_bytes(b"\x89PNG")
    return folder


class Answering(BaseHTTPRequestHandler):
    """Answers what its server was told to, in turn; keeps what it was asked."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            while (size := int(self.rfile.readline(), 16)) > 0:
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.rfile.read(length)
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        code, body = self.server.answers.pop(0)
        self.send_response(code)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815  # as http.server calls them

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    made.asked, made.answers = [], []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/dicom-web"


def test_addresses() -> None:
    whole = place(f"dicomweb://pacs.example.org/rs/studies/{UID}", Access())
    assert (whole.server.url, whole.study, whole.series) == ("https://pacs.example.org/rs", UID, None)
    one = place(f"dicomweb+http://h:8042/dicom-web/studies/{UID}/series/1.2/instances/3.4", Access())
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
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(OptionError) as caught:
        place(address, Access())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["pacs", "pacs:", ":104", "pacs:x", "pacs:70000"])
def test_nodes_that_are_none(address: str) -> None:
    with pytest.raises(OptionError, match="HOST:PORT"):
        node(address, "A", "B", False, Access())


@pytest.mark.parametrize("title", ["", "x" * 17, "ä", "a\\b"])
def test_titles_that_are_none(title: str) -> None:
    with pytest.raises(OptionError, match="1 to 16"):
        Node("h", 104, title)


def test_patience_is_for_what_may_pass() -> None:
    asked = []

    def ask(retry: bool, times: int) -> str:
        asked.append(1)
        if len(asked) <= times:
            raise TransferError("busy", retry=retry)
        return "done"

    assert patiently(lambda: ask(True, 3), 3, wait=0) == "done"
    asked.clear()
    with pytest.raises(TransferError):
        patiently(lambda: ask(True, 4), 3, wait=0)
    assert len(asked) == 4
    asked.clear()
    with pytest.raises(TransferError):
        patiently(lambda: ask(False, 1), 3, wait=0)
    assert len(asked) == 1


def test_what_was_taken_is_not_sent_again(results: Path) -> None:
    paths = objects(results)
    assert [path.name for path in paths] == ["a.dcm", "b.dcm"]
    taken: list[str] = []

    def store(path: Path) -> None:
        if path.name == "b.dcm" and len(taken) < 2:
            taken.append("failed")
            raise TransferError("it does not take b.dcm")
        taken.append(path.name)

    def send(server: str) -> list[tuple[bool, bool]]:
        sent = pushed(paths, store, Ledger.of(results, server), retries=0)
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
        (401, b"", "answered 401: give --token-file", False),
        (503, b"", "answered 503", True),
        (200, b"not json", "its answer is broken", False),
        (200, b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}', "0x0110", False),
    ],
)
def test_servers_that_do_not_take_an_object(
    server: ThreadingHTTPServer, results: Path, code: int, body: bytes, words: str, retry: bool
) -> None:
    server.answers.append((code, body))
    with pytest.raises(TransferError, match=words) as caught:
        Server(url(server), Access(token="secret")).store(results / "a.dcm")
    assert caught.value.retry is retry
    assert "secret" not in str(caught.value)
    assert server.asked[0][2]["Authorization"] == "Bearer secret"


def test_a_server_that_is_away(results: Path) -> None:
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
    server.answers += [(503, b""), (200, b"{}"), (409, b"")]
    result = pellucid("push", results, "--dicomweb", url(server), "--token-file", tmp_path / "token", "--retries", 1)
    assert result.exit_code == 1
    one_line(result, "answered 409")
    assert "1 sent, 1 failed" in result.stdout
    server.answers += [(200, b"{}")]
    result = pellucid("push", results, "--dicomweb", url(server), "--token-file", tmp_path / "token")
    assert (result.exit_code, result.stdout) == (0, "1 sent, 1 sent before\n")
    assert [asked[2]["Authorization"] for asked in server.asked] == ["Bearer abc"] * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "or twice"),
        (["--dicomweb", "http://h", "--dicom", "h:104"], "or twice"),
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
    """A node on loopback that takes CT; its port, and what it took."""
    taken: list[str] = []

    def store(event: evt.Event) -> int:
        taken.append(str(event.dataset.SOPInstanceUID))
        return 0x0000

    entity = AE("ARCHIVE")
    entity.add_supported_context(CTImageStorage)
    entity.require_called_aet = True
    made = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    yield made.server_address[1], taken
    made.shutdown()


def test_a_node_takes_what_it_knows(archive: tuple[int, list[str]], pellucid: Command, results: Path) -> None:
    port, taken = archive
    result = pellucid("push", results, "--dicom", f"127.0.0.1:{port}", "--aec", "ARCHIVE", "--retries", 0)
    assert result.exit_code == 1
    assert "1 sent, 1 failed" in result.stdout
    assert "b.dcm" in one_line(result)
    assert taken == [str(pydicom.dcmread(results / "a.dcm").SOPInstanceUID)]
    refused = pellucid("push", results, "--dicom", f"127.0.0.1:{port}", "--aec", "OTHER")
    assert refused.exit_code == 3
    one_line(refused, "does not accept us")


def test_a_node_that_is_away(pellucid: Command, results: Path) -> None:
    result = pellucid("push", results, "--dicom", "127.0.0.1:9", "--retries", 0)
    assert result.exit_code == 3
    one_line(result, "cannot be reached")


def test_an_archive_that_stays_away_is_not_asked_for_each(pellucid: Command, results: Path) -> None:
    result = pellucid("push", results, "--dicomweb", "http://127.0.0.1:9/dicom-web", "--retries", 0)
    assert (result.exit_code, result.stdout) == (3, "0 sent, 1 failed, 1 not tried\n")
    one_line(result, "cannot be reached")


def test_an_association_that_ended_is_made_anew(pellucid: Command, results: Path) -> None:
    shutil.copy(results / "a.dcm", results / "c.dcm")
    (results / "b.dcm").unlink()
    asked: list[int] = []

    def store(event: evt.Event) -> int:
        asked.append(1)
        if len(asked) == 1:
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
    assert len(asked) >= 2


def test_broken_files_are_named_and_the_others_sent(
    archive: tuple[int, list[str]], pellucid: Command, results: Path
) -> None:
    (results / "b.dcm").write_bytes(bytes(128) + b"DICM" + b"broken")
    result = pellucid("push", results, "--dicom", f"127.0.0.1:{archive[0]}", "--aec", "ARCHIVE")
    assert "1 sent, 1 failed" in result.stdout
    one_line(result, "b.dcm: it is a broken DICOM file")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--dicom", "nohost.invalid:104", "--retries", "0"], "cannot be reached", 3),
        (["--dicom", "127.0.0.1:9", "--tls", "--ca", "FILE"], "no certificate", 2),
        (["--dicom", "127.0.0.1:9", "--ca", "FILE"], "without --tls", 2),
        (["--dicomweb", "https://h", "--key", "FILE"], "without its certificate", 2),
        (["--dicomweb", "https://[x/d"], "begins with https", 2),
    ],
)
def test_what_cannot_be_is_one_line(
    pellucid: Command, results: Path, arguments: list[str], words: str, code: int
) -> None:
    given = [str(results / "a_overlay.png") if one == "FILE" else one for one in arguments]
    result = pellucid("push", results, *given)
    assert result.exit_code == code
    one_line(result, words)


def found(count: int, offset: int = 0) -> bytes:
    one = {"00080018": {"vr": "UI", "Value": [""]}, "00280010": {"vr": "US", "Value": [8]}}
    listed = [{**one, "00080018": {"vr": "UI", "Value": [f"1.2.{offset + index}"]}} for index in range(count)]
    return json.dumps(listed).encode()


def test_a_server_that_ignores_pages_is_not_asked_forever(server: ThreadingHTTPServer) -> None:
    server.answers += [(200, found(3)), (200, found(3))]
    listed = place(f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2/series/3.4", Access()).instances()
    assert listed == [("3.4", f"1.2.{index}") for index in range(3)]
    assert len(server.asked) == 2
    server.answers += [(200, found(3)), (200, found(2, 3)), (200, b"[]")]
    assert (
        len(place(f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2/series/3.4", Access()).instances())
        == 5
    )
    server.answers += [(200, found(1)), (200, b"[]")]
    with pytest.raises(TransferError, match="answer is broken"):  # it does not say of which series
        place(f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2", Access()).instances()


def test_a_folder_of_another_study_is_not_taken(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    other = tmp_path / "series-1" / "0001.dcm"
    other.parent.mkdir()
    shutil.copy(shipped("CT_small.dcm"), other)
    server.answers += [(200, found(1)), (200, b"[]")]
    at = place(f"{url(server).replace('http', 'dicomweb+http', 1)}/studies/1.2/series/3.4", Access())
    with pytest.raises(OptionError, match="another study"):
        list(fetched(at, tmp_path, 0))
    assert other.read_bytes() == shipped("CT_small.dcm").read_bytes()
