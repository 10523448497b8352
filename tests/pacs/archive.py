"""Starts Orthanc, an archive, for tests. It listens on every interface: only where there is nothing but loopback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = shutil.which("Orthanc")
WEB, DICOM = 18042, 14242
PATIENCE = 60


def needed(target: str) -> list[pytest.MarkDecorator]:
    """The marks of tests that need an archive; ``target`` of make runs them where they can be run."""
    return [
        pytest.mark.skipif(ORTHANC is None or not PLUGIN.exists(), reason=f"Orthanc is not installed: make {target}"),
        pytest.mark.skipif(
            {name for _, name in socket.if_nameindex()} != {"lo"},
            reason=f"Orthanc listens on every interface, and there is more than loopback: make {target}",
        ),
    ]


@contextmanager
def archive(folder: Path) -> Iterator[str]:
    """The address of an empty archive's DICOMweb service."""
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": WEB,
        "DicomPort": DICOM,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomAlwaysAllowStore": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([str(ORTHANC), str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait(process, f"http://127.0.0.1:{WEB}/system", folder / "log")
        yield f"http://127.0.0.1:{WEB}/dicom-web"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def version() -> str:
    """The version of the archive that runs."""
    with urllib.request.urlopen(f"http://127.0.0.1:{WEB}/system", timeout=PATIENCE) as answer:
        return str(json.loads(answer.read())["Version"])


def store(path: Path) -> None:
    """Store a file in the archive that runs."""
    request = urllib.request.Request(f"http://127.0.0.1:{WEB}/instances", data=path.read_bytes(), method="POST")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.status == 200


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(log.read_text())
