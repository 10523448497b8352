"""Answers of an MLflow server: bounded in bytes and in time, from one place only, never inflated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests import Response

from pellucid.core.watch import Watch, WatchedAdapter
from pellucid.errors import TransferError
from pellucid.models.mlflow_artifacts.access import CURE, Access
from pellucid.models.mlflow_artifacts.bounds import Bounds

_CHUNK = 2**18
_CODE = re.compile(r"[A-Z_]{1,60}")
_REFUSED = (401, 403)
_MISSING = (400, 404)


@dataclass(frozen=True)
class Missing:
    """The answer that there is no such thing; ``code`` is MLflow's word for why, or empty."""

    code: str


class Answers:
    """What one server answers. ``shown`` is its address without credentials."""

    def __init__(self, root: str, access: Access, bounds: Bounds) -> None:
        self.shown = root
        self._access = access
        self._bounds = bounds

    def asked(
        self, path: str, parameters: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any] | Missing:
        """Return the object that the server answers; with a ``body``, which is posted.

        ``TransferError``: it cannot be reached, refuses, or answers something else.
        """
        with self._response(path, parameters, body, self._bounds.answering) as response:
            content = b"".join(self._parts(response, self._bounds.answer))
            if response.status_code in _MISSING:
                return Missing(_code(content))
            self._check_status(response.status_code)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, Mapping):
            raise TransferError(f"{self.shown} does not answer as an MLflow server does; check MLFLOW_TRACKING_URI")
        return found

    def saved(self, path: str, size: int | None, target: Path, most: int) -> bool:
        """Write a file's content; whether there is one. ``size`` is what it is stated to have, if known.

        ``TransferError``: it is larger than ``most``, of another size, too slow, or cannot be had.
        """
        seconds = self._bounds.answering + (most if size is None else size) / self._bounds.slowest
        with self._response(path, {}, None, seconds) as response:
            if response.status_code in _MISSING:
                return False
            self._check_status(response.status_code)
            written = 0
            with target.open("xb") as file:
                for part in self._parts(response, most if size is None else min(size, most)):
                    written += file.write(part)
        if size is not None and written != size:
            raise TransferError(f"{self.shown} sent {written:,} of {size:,} bytes of a file; try again", retry=True)
        return True

    @contextmanager
    def _response(
        self, path: str, parameters: Mapping[str, str], body: Mapping[str, Any] | None, seconds: float
    ) -> Iterator[Response]:
        """Send a request, and read its answer within the time."""
        watch, bounds, access = Watch(seconds), self._bounds, self._access
        try:
            with requests.Session() as session, watch.running():
                for scheme in ("http://", "https://"):
                    session.mount(scheme, WatchedAdapter())
                with session.request(
                    "GET" if body is None else "POST",
                    f"{self.shown}{path}",
                    params=dict(parameters),
                    json=body,
                    headers={"Accept-Encoding": "identity", **dict(access.headers)},
                    auth=access.login,
                    verify=access.verify,
                    cert=access.certificate,
                    timeout=(bounds.connecting, bounds.answering),
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    yield response
        except TransferError:
            raise
        except OSError as error:  # requests' own are such
            if isinstance(error, requests.RequestException) or watch.expired:
                raise self._failure(error, watch) from None
            raise
        except Exception as error:
            if watch.expired or type(error).__module__.startswith(("urllib3", "http")):
                raise self._failure(error, watch) from None
            raise
        if watch.expired:  # a connection that was cut may look like one that ended
            raise self._late(watch)

    def _parts(self, response: Response, most: int) -> Iterator[bytes]:
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise TransferError(
                f"{self.shown} compresses its answer, which was not asked for: turn that off in the proxy before it"
            )
        read = 0
        while part := response.raw.read(_CHUNK, decode_content=False):
            read += len(part)
            if read > most:
                raise TransferError(f"{self.shown} sent more than the {most:,} bytes that are taken; check the model")
            yield part

    def _check_status(self, status: int) -> None:
        if status in _REFUSED:
            raise TransferError(f"{self.shown} refuses the request ({status}): {CURE}")
        if 300 <= status < 400:
            raise TransferError(
                f"{self.shown} redirects the request, and nothing was sent there: set MLFLOW_TRACKING_URI to the "
                "address that it has now"
            )
        if status != 200:
            raise TransferError(f"{self.shown} failed ({status}); look at the server's log", retry=status >= 500)

    def _failure(self, error: Exception, watch: Watch) -> TransferError:
        # The text of the error may hold the address of a proxy with its password.
        if watch.expired or isinstance(error, requests.Timeout) or "Timeout" in type(error).__name__:
            return self._late(watch)
        if isinstance(error, requests.exceptions.SSLError):
            return TransferError(
                f"{self.shown}: its certificate could not be verified; set MLFLOW_TRACKING_SERVER_CERT_PATH to a CA "
                "bundle (PEM)"
            )
        return TransferError(
            f"{self.shown} cannot be reached, or ended the connection ({type(error).__name__}); check "
            "MLFLOW_TRACKING_URI, and whether the server runs",
            retry=True,
        )

    def _late(self, watch: Watch) -> TransferError:
        seconds = watch.seconds if watch.expired else self._bounds.answering
        return TransferError(f"{self.shown} did not answer within {seconds:.3g} s; try again later", retry=True)


def _code(content: bytes) -> str:
    """MLflow's word for why an answer is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    code = found.get("error_code") if isinstance(found, Mapping) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else ""
