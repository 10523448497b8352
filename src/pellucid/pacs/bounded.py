"""HTTP for servers that are not trusted: answers are bounded in bytes and time, requests go to one place only."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest, Response
from urllib3.response import BaseHTTPResponse

from pellucid.core.watch import Watch, WatchedAdapter
from pellucid.errors import TransferError

_CHUNK = 2**16
_CONNECTING = 10
"""Seconds to connect to one address of a server."""
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_UNCOMPRESSED = ("", "identity")

Origin = tuple[str, str, int]
"""Scheme, host and port."""


@dataclass(frozen=True)
class Limit:
    """The most bytes of an answer, and what to do where it has more."""

    max_bytes: int
    cure: str


class BoundedAdapter(WatchedAdapter):
    """Transport for the requests of one answer, which is within the ``limit`` and takes at most ``seconds``.

    Answers are not inflated, and a redirect is followed for GET within the scheme, host and port of the request only.
    ``secret`` is shown in no message.
    """

    def __init__(self, seconds: float, limit: Limit, secret: str = "") -> None:
        super().__init__()
        self._watch = Watch(seconds)
        self._limit = limit
        self._secret = secret

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: ARG002  # every answer is read here, and whole
        timeout: float | tuple[float | None, float | None] | None = None,  # noqa: ARG002  # the watchdog's is for all
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> Response:
        """Send a request, and return its answer with the whole body.

        Raises:
            TransferError: the answer is too long, takes too long, is compressed, or sends the request elsewhere.
        """
        try:
            with self._watch.running():
                response = super().send(request, True, (_CONNECTING, self._watch.seconds), verify, cert, proxies)
                self._check(request, response)
                response._content = self._body(response)
        except TransferError:
            raise
        except Exception:
            self._check_time()
            raise
        finally:
            self.close()  # a connection belongs to one answer
        self._check_time()  # a connection that was cut may look like one that ended
        return response

    def _check_time(self) -> None:
        if self._watch.expired:
            raise TransferError(
                f"the server did not complete its answer within {self._watch.seconds:.3g} s: give a higher --timeout",
                retry=True,
            )

    def _check(self, request: PreparedRequest, response: Response) -> None:
        if response.is_redirect:
            before, after = _origin(request.url or ""), _target(request, response)
            if request.method != "GET" or before != after:
                where = "another path of its own" if before == after else self._shown(after)
                raise TransferError(
                    f"the server redirects the request to {where}, and nothing was sent there: give the address that "
                    "the archive has now"
                )
        if response.headers.get("Content-Encoding", "").strip().lower() not in _UNCOMPRESSED:
            raise TransferError(
                "the server compresses its answer (Content-Encoding), which was not asked for: turn that off in the "
                "archive or in the proxy before it"
            )

    def _shown(self, origin: Origin | None) -> str:
        """An origin as messages name it; a server may hide in it what it was sent."""
        if origin is None or not _HOST.fullmatch(origin[1]) or (self._secret and self._secret.lower() in origin[1]):
            return "another place"
        scheme, host, port = origin
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def _body(self, response: Response) -> bytes:
        raw: BaseHTTPResponse = response.raw
        body = bytearray()
        while chunk := raw.read(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > self._limit.max_bytes:
                longest = f"{self._limit.max_bytes / 2**20:,.0f} MiB"
                raise TransferError(f"the server's answer is longer than {longest}: {self._limit.cure}")
        return bytes(body)


def _target(request: PreparedRequest, response: Response) -> Origin | None:
    """Where a redirect leads; None of an invalid address."""
    with suppress(ValueError):
        return _origin(urljoin(request.url or "", response.headers.get("Location") or ""))
    return None


def _origin(url: str) -> Origin | None:
    """The origin of an address; None of an invalid one."""
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    return None
