"""TLS: certificates are verified in both directions, for DICOMweb and DIMSE."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt

from pellucid.errors import TransferError
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.dicomweb import Server
from pellucid.pacs.dimse import Node
from tests.io.test_dicom import shipped
from tests.pacs.test_transfer import Responding, stored

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for this machine, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


def context(certificate: tuple[Path, Path], asks: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*certificate)
    if asks:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(certificate[0])
    return made


class Quiet(ThreadingHTTPServer):
    """A server that logs nothing of the clients that it rejects."""

    def handle_error(self, *arguments: object) -> None:
        pass


@pytest.fixture(params=[False, True], ids=["any client", "known clients"])
def server(certificate: tuple[Path, Path], request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    made = Quiet(("127.0.0.1", 0), Responding)
    made.requests, made.responses = [], [(200, stored)] * 3
    made.socket = context(certificate, request.param).wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://localhost:{made.server_address[1]}/dicom-web", request.param
    made.shutdown()
    made.server_close()


def test_an_untrusted_server_gets_nothing(server: tuple[str, bool]) -> None:
    with pytest.raises(TransferError, match="with --ca"):
        Server(server[0]).store(shipped("CT_small.dcm"))


def test_trusted_certificates_are_accepted(server: tuple[str, bool], certificate: tuple[Path, Path]) -> None:
    url, asks = server
    made, key = certificate
    Server(url, ServerAccess(certificate=made, key=key, ca=made)).store(shipped("CT_small.dcm"))
    if asks:
        with pytest.raises(TransferError):
            Server(url, ServerAccess(ca=made)).store(shipped("CT_small.dcm"))


def test_nodes_are_verified_too(certificate: tuple[Path, Path]) -> None:
    entity, accepted = AE("ARCHIVE"), []
    entity.add_supported_context(CTImageStorage)
    handlers = [(evt.EVT_C_STORE, lambda event: accepted.append(1) or 0)]
    running = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=context(certificate, False)
    )
    port, paths = running.server_address[1], [shipped("CT_small.dcm")]
    try:
        known = Node("localhost", port, called="ARCHIVE", tls=True, access=ServerAccess(ca=certificate[0]))
        with known.sender(paths) as sender:
            sender.store(paths[0])
        unknown = Node("localhost", port, called="ARCHIVE", tls=True, access=ServerAccess(retries=0))
        with pytest.raises(TransferError, match="cannot be reached"), unknown.sender(paths):
            pass
    finally:
        running.shutdown()
    assert accepted == [1]
