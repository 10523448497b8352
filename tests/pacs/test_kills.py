"""Processes killed while a folder is explained and pushed: no object is sent in part, none stays unsent."""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from pydicom.pixels.utils import get_expected_length

from tests.cli.conftest import ROOT
from tests.io.test_volumes import slices
from tests.pacs.test_transfer import stored

Model = Callable[..., str]


class Archiving(BaseHTTPRequestHandler):
    """Stores every whole object that it is sent, and keeps it."""

    def do_POST(self) -> None:
        body = self.rfile.read(length := int(self.headers["Content-Length"]))
        if len(body) < length:
            return  # the client was killed: this is not an object
        self.server.objects.append(body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0])
        answer = stored(body)
        self.send_response(200)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments: object) -> None:
        pass


class Archive(ThreadingHTTPServer):
    daemon_threads = True
    objects: list[bytes]

    def handle_error(self, *arguments: object) -> None:
        """A client that was killed is no error."""


@pytest.fixture
def archive() -> Iterator[Archive]:
    made = Archive(("127.0.0.1", 0), Archiving)
    made.objects = []
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def killing() -> Iterator[Callable[..., dict[str, object]]]:
    """Explains and pushes in processes that are killed after a delay."""
    command = [sys.executable, "-m", "tests.pacs.killed"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def order(delay: float | None, explain: list[str], push: list[str]) -> dict[str, object]:
        process.stdin.write(json.dumps({"delay": delay, "explain": explain, "push": push}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield order
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def is_whole(content: bytes) -> bool:
    """Whether a file is what pydicom writes of the object in it, with all of its pixels."""
    found, buffer = pydicom.dcmread(io.BytesIO(content)), io.BytesIO()
    found.save_as(buffer, enforce_file_format=True)
    pixels = len(found.PixelData) if "PixelData" in found else 0
    expected = get_expected_length(found) if "PixelData" in found else 0
    return len(buffer.getvalue()) == len(content) and pixels in (expected, expected + 1)


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.release)])
def test_kills(
    kills: int, killing: Callable[..., dict[str, object]], archive: Archive, model: Model, tmp_path: Path
) -> None:
    folder, output = slices(tmp_path / "ct", [0, 3]), tmp_path / "out"
    explain = ["explain", str(folder), "--model", model("make"), "-o", str(output), "--export", "sc,seg,sr,png"]
    explain += ["--as", "files", "--overwrite", "--quiet", "--batch-size", "1"]
    push = ["push", str(output), "--dicomweb", f"http://127.0.0.1:{archive.server_address[1]}/rs", "--retries", "0"]
    killing(None, explain, push)
    whole = killing(None, explain, push)
    assert whole["codes"] == [0, 0]
    expected = uids(output)
    assert len(expected) == 6, "three objects of each slice"
    generator, begun, drafts = random.Random(0), 0, 0
    for _ in range(kills):
        shutil.rmtree(output)
        archive.objects.clear()
        killing(generator.uniform(0, whole["seconds"]), explain, push)
        begun += bool(archive.objects)
        drafts += bool(list(output.rglob(".part-*")))
        assert all(is_whole(path.read_bytes()) for path in output.glob("*.dcm"))
        assert killing(None, explain, push)["codes"] == [0, 0]
        assert all(map(is_whole, archive.objects))
        assert {str(pydicom.dcmread(io.BytesIO(one)).SOPInstanceUID) for one in archive.objects} == expected
        assert uids(output) == expected
        assert not list(output.rglob(".part-*"))
    print(f"{kills} kills: {begun} after an object was sent, {drafts} while a file was written")  # noqa: T201


def uids(folder: Path) -> set[str]:
    return {str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.glob("*.dcm")}
