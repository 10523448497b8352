"""A server that is not trusted: names that lead elsewhere, sizes and times without end, redirections, nonsense."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import torch
from torchvision.models import resnet18

import pellucid
from pellucid.errors import PellucidError, SourceError, TransferError
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.reading import read

RUN = "0" * 32
SHORT = Bounds(connecting=1.0, answering=0.3, slowest=2**30, weights=2**27)


class Hostile(BaseHTTPRequestHandler):
    """Answers with what the server object holds."""

    server: Any

    def do_GET(self) -> None:  # the name that the standard library calls
        parts = urlsplit(self.path)
        self.server.asked.append(self.path)
        if parts.path.endswith("/runs/get"):
            self._json({"run": {"info": {"artifact_uri": self.server.location, "experiment_id": "0"}, "data": {}}})
        elif parts.path.endswith("/artifacts"):
            path = parse_qs(parts.query).get("path", [""])[0]
            self._json({"files": self.server.files if path == "art" else []})
        elif parts.path.endswith("best.pt"):
            self.server.sending(self)
        else:
            self.send_error(404)

    do_POST = do_GET  # noqa: N815  # the name that the standard library calls

    def _json(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    made.daemon_threads, made.block_on_close = True, False
    made.location, made.asked, made.files = "mlflow-artifacts:/art", [], [{"path": "best.pt", "file_size": 10}]
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{made.server_port}")
    yield made
    made.shutdown()
    made.server_close()
    thread.join(10)


def refused(kind: type[PellucidError], text: str, bounds: Bounds = SHORT) -> None:
    """Reading the run's artifacts gets one line."""
    with pytest.raises(kind, match=text) as raised:
        read(f"runs:/{RUN}", None, bounds)
    assert len(str(raised.value).splitlines()) == 1


def sends(content: bytes, **headers: str) -> Any:
    """Send content, with headers that may lie."""

    def sending(handler: Hostile) -> None:
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        try:
            handler.wfile.write(content)
        except OSError:
            return

    return sending


def test_a_plain_answer_is_read(server: Any, tmp_path: Path) -> None:
    torch.save(resnet18(num_classes=2).state_dict(), tmp_path / "best.pt")
    content = (tmp_path / "best.pt").read_bytes()
    server.files, server.sending = [{"path": "best.pt", "file_size": len(content)}], sends(content)
    with pytest.warns(pellucid.PellucidWarning):
        model = pellucid.load_model(f"runs:/{RUN}")
    assert model.fc.out_features == 2


@pytest.mark.parametrize("name", ["../best.pt", "/etc/best.pt", "..", "a/best.pt", "a\\best.pt", "be\nst.pt", ""])
def test_names_that_are_paths(server: Any, name: str) -> None:
    server.files = [{"path": name, "file_size": 10}]
    refused(TransferError, "which is no plain name")


def test_a_list_without_end(server: Any) -> None:
    server.files = [{"path": f"{number}.pt"} for number in range(SHORT.entries + 1)]
    refused(TransferError, "lists more than")


def test_a_file_that_is_larger_than_stated(server: Any) -> None:
    server.sending = sends(b"x" * 1000)
    refused(TransferError, "more than the 10 bytes")


def test_a_file_that_is_stated_to_be_too_large(server: Any) -> None:
    server.files = [{"path": "best.pt", "file_size": 2**40}]
    refused(SourceError, "at most")


def test_a_file_that_is_cut(server: Any) -> None:
    server.sending = sends(b"x" * 4, Content_Length="4")
    refused(TransferError, "sent 4 of 10 bytes")


def test_a_file_that_never_ends(server: Any) -> None:
    gate = threading.Event()

    def slow(handler: Hostile) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        gate.wait(20)

    server.sending = slow
    refused(TransferError, "127.0.0.1")
    gate.set()


def test_an_answer_that_is_compressed(server: Any) -> None:
    server.sending = sends(b"x" * 10, Content_Encoding="gzip")
    refused(TransferError, "compresses its answer")


def test_a_redirection_is_not_followed(server: Any) -> None:
    def elsewhere(handler: Hostile) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://127.0.0.1:9/secret")
        handler.end_headers()

    server.sending = elsewhere
    refused(TransferError, "redirects the request")


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("mlflow-artifacts://other.example/art", "with another server"),
        ("mlflow-artifacts:/../../etc", "no plain path"),
        ("s3://bucket/art", "is not read from here"),
        ("//share/art", "is not read from here"),
        ("file:///nowhere/art", "where nothing is"),
    ],
)
def test_artifacts_elsewhere(server: Any, location: str, text: str) -> None:
    server.location = location
    refused(SourceError, text)


def test_nonsense_for_weights(server: Any) -> None:
    server.sending = sends(b"0123456789")
    refused(PellucidError, "runs:/|best.pt")


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_knows_nobody(server: Any, status: int) -> None:
    server.sending = lambda handler: handler.send_error(status)
    refused(TransferError, rf"refuses the request \({status}\): set MLFLOW_TRACKING_USERNAME")


def test_links_out_of_a_folder_are_not_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "mlruns" / "0" / RUN
    (own / "artifacts").mkdir(parents=True)
    (own / "meta.yaml").write_text(f"artifact_uri: {own / 'artifacts'}\nrun_id: '{RUN}'\n")
    torch.save(resnet18(num_classes=2).state_dict(), tmp_path / "secret.pt")
    (own / "artifacts" / "best.pt").symlink_to(tmp_path / "secret.pt")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    with pytest.raises(SourceError):
        read(f"runs:/{RUN}/best.pt")


def test_a_folder_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "mlruns" / "0" / RUN
    (own / "artifacts").mkdir(parents=True)
    (own / "meta.yaml").write_text(f"artifact_uri: {own / 'artifacts'}\nrun_id: '{RUN}'\n")
    torch.save(resnet18(num_classes=2).state_dict(), own / "artifacts" / "best.pt")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    found = read(f"runs:/{RUN}/best.pt")
    assert found is not None
    assert found.state["fc.weight"].shape == (2, 512)
    before = sorted(str(path) for path in (tmp_path / "mlruns").rglob("*"))
    read(f"runs:/{RUN}")
    assert sorted(str(path) for path in (tmp_path / "mlruns").rglob("*")) == before
