"""The end of an answer's time: its connections are cut, since a server that drips resets every timeout."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Lock, Timer

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool


class Watch:
    """Cuts the connections of one answer when its time is over, since a server that drips resets every timeout."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = Lock()
        self._sockets: list[socket.socket] = []

    @property
    def expired(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._end

    def add(self, connected: socket.socket) -> None:
        """Cut this connection, too, when the time is over."""
        with self._lock:
            self._sockets.append(connected)
        if self.expired:
            self._cut()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Cut the connections that are opened within, at the end of the time."""
        timer = Timer(max(0.0, self._end - time.monotonic()), self._cut)
        timer.daemon = True
        timer.start()
        token = _WATCH.set(self)
        try:
            yield
        finally:
            _WATCH.reset(token)
            timer.cancel()

    def _cut(self) -> None:
        with self._lock:
            for one in self._sockets:
                with suppress(OSError):  # closed already
                    # Of the plain socket: TLS would forget its state, which another thread is reading from.
                    socket.socket.shutdown(one, socket.SHUT_RDWR)


_WATCH: ContextVar[Watch] = ContextVar("_WATCH")


class _Plain(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _WATCH.get().add(self.sock)


class _Secured(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _WATCH.get().add(self.sock)


class WatchedAdapter(HTTPAdapter):
    """Transport of requests whose connections the running watch cuts when its time is over."""

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str,
        proxies: dict[str, str] | None = None,
        cert: str | tuple[str, str] | None = None,
    ) -> HTTPConnectionPool:
        """The connections to a server, each of which is cut when the time is over."""
        pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
        pool.ConnectionCls = _Secured if pool.scheme == "https" else _Plain
        return pool
