"""One origin for the viewer and the archive, as a hospital's proxy would be: no cross-origin requests."""

from __future__ import annotations

import http.client
import json
import mimetypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ARCHIVE = "/dicom-web"
_CONFIG = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "showCPUFallbackMessage": False,
    "investigationalUseDialog": {"option": "never"},
    "maxNumberOfWebWorkers": 1,
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": {
                "friendlyName": "archive",
                "name": "archive",
                "qidoRoot": ARCHIVE,
                "wadoRoot": ARCHIVE,
                "wadoUriRoot": ARCHIVE,
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsFuzzyMatching": False,
                "supportsWildcard": True,
                "bulkDataURI": {"enabled": True},
                "omitQuotationForMultipartRequest": True,
            },
        }
    ],
    "defaultDataSourceName": "dicomweb",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *given: object, folder: Path, archive: int) -> None:
        self.folder, self.archive = folder, archive
        super().__init__(*given)  # type: ignore[arg-type]

    def log_message(self, *given: object) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(f"{ARCHIVE}/"):
            return self._pass_on(b"")
        if path == "/app-config.js":
            return self._send(200, "text/javascript", f"window.config = {json.dumps(_CONFIG)};".encode())
        file = (self.folder / path.lstrip("/")).resolve()
        if not file.is_file() or self.folder not in file.parents:  # a page of the application
            file = self.folder / "index.html"
        kind = "application/wasm" if file.suffix == ".wasm" else mimetypes.guess_type(file.name)[0]
        return self._send(200, kind or "application/octet-stream", file.read_bytes())

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _pass_on(self, body: bytes) -> None:
        """Ask the archive, and give its answer back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.archive, timeout=60)
        headers = {name: value for name in ("Accept", "Content-Type") if (value := self.headers.get(name))}
        connection.request(self.command, self.path, body or None, headers)
        answer = connection.getresponse()
        self._send(answer.status, answer.getheader("Content-Type") or "application/octet-stream", answer.read())
        connection.close()

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        # What SharedArrayBuffer needs.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def origin(folder: Path, archive: int) -> Iterator[str]:
    """The address of a server that serves the built viewer in a folder, and the archive at a port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder=folder.resolve(), archive=archive))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
