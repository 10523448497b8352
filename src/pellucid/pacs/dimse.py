"""DIMSE: send objects to a DICOM node with C-STORE (PS3.4 B, PS3.7), for archives without DICOMweb."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pellucid.errors import MissingPackageError, OptionError, TransferError
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.objects import context_of, object_of

_TIMEOUT = 30
"""Seconds, for connecting and for each message."""
_MAX_RECEIVED = 2**24
"""The most bytes that a node may send in one association: what it sends are responses of some hundred bytes."""
_CHUNK = 2**12
_MAX_TITLE = 16
_WARNING = 0xB000
_MAX_CONTEXTS = 128
"""The most presentation contexts that an association may propose (PS3.8)."""
_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass(frozen=True)
class Node:
    """A DICOM node: host, port, and the AE titles of both sides.

    ``calling`` is our AE title, ``called`` the node's. ``tls`` encrypts the connection and verifies the node.

    Raises:
        OptionError: a title is not an AE title, or certificates are given without ``tls``.
    """

    host: str
    port: int
    calling: str = "PELLUCID"
    called: str = "ANY-SCP"
    tls: bool = False
    access: ServerAccess = field(default_factory=ServerAccess)

    def __post_init__(self) -> None:
        """Refuse invalid AE titles, and certificates that would not be used."""
        for option, title in (("--aet", self.calling), ("--aec", self.called)):
            if not 0 < len(title.strip()) <= _MAX_TITLE or not title.isascii() or "\\" in title:
                raise OptionError(f"{option} {title!r} was given; an AE title has 1 to {_MAX_TITLE} ASCII characters")
        if not self.tls and (self.access.certificate or self.access.ca):
            raise OptionError("--certificate or --ca was given without --tls, which alone uses them: give --tls, too")

    @property
    def name(self) -> str:
        """The node's name in messages."""
        return f"{self.called}@{self.host}:{self.port}"

    @contextmanager
    def sender(self, paths: Sequence[Path]) -> Iterator[Sender]:
        """Associate with the node for the objects in these files; the sender associates again where that ends.

        Raises:
            TransferError: the node cannot be reached after all retries, or rejects the association.
        """
        sender = Sender(self, _contexts(paths))
        if sender.contexts:
            sender.association = self.access.retried(partial(self.associate, sender.contexts))
        try:
            yield sender
        finally:
            sender.release()

    def associate(self, contexts: Sequence[tuple[str, str]]) -> Any:
        """Return an association for objects of these SOP classes and transfer syntaxes.

        Raises:
            TransferError: the node cannot be reached, or rejects the association.
        """
        entity = _entity()
        entity.ae_title = self.calling
        for sop_class, syntax in contexts[:_MAX_CONTEXTS]:
            entity.add_requested_context(sop_class, list(dict.fromkeys([syntax, *_UNCOMPRESSED])))
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _TIMEOUT
        secured = (_tls_context(self.access), self.host) if self.tls else None
        try:
            association = entity.associate(
                self.host, self.port, ae_title=self.called, tls_args=secured, evt_handlers=_handlers()
            )
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TransferError(f"{self.name}: the node cannot be reached ({reason})", retry=True) from None
        if not association.is_established:
            transport = association.dul.socket
            if transport is not None and transport.socket is not None:
                transport.socket.close()  # pynetdicom leaves it open after some failures
            rejected = association.is_rejected
            reason = "it rejects the association: check --aet and --aec" if rejected else "the node cannot be reached"
            raise TransferError(f"{self.name}: {reason}", retry=not rejected)
        return association


@dataclass
class Sender:
    """Sends objects to a node; ``contexts`` are the SOP classes and transfer syntaxes to associate for."""

    node: Node
    contexts: Sequence[tuple[str, str]]
    association: Any = None

    def store(self, path: Path) -> None:
        """Store the object in a DICOM file (C-STORE).

        Raises:
            TransferError: the file is broken, or the node cannot be reached, rejects it or ends the association.
        """
        sent = object_of(path)
        if self.association is None or not self.association.is_established:
            self.association = self.node.associate(self.contexts)
        name = self.node.name
        try:
            status = self.association.send_c_store(sent)
        except (RuntimeError, ValueError, AttributeError) as error:
            ended = not self.association.is_established
            reason = "the association ended" if ended else f"the node rejects such objects ({type(error).__name__})"
            raise TransferError(f"{name}: {path.name}: {reason}", retry=ended) from None
        code = status.get("Status")
        if code is None:
            raise TransferError(f"{name}: {path.name}: the node did not respond, or ended the association", retry=True)
        if code != 0 and code & 0xF000 != _WARNING:
            raise TransferError(f"{name}: the node rejects {path.name} (status {code:#06x})")

    def release(self) -> None:
        """Release the association, if there is one."""
        if self.association is not None and self.association.is_established:
            self.association.release()


def parse_node(address: str, calling: str, called: str, tls: bool, access: ServerAccess) -> Node:
    """Parse HOST:PORT into a node with these AE titles.

    Raises:
        OptionError: the address has another form.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise OptionError(f"--dicom {address} was given; write HOST:PORT, such as pacs.example.org:104")
    return Node(host.strip("[]"), int(port), calling, called, tls, access)


def _contexts(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """The SOP classes and transfer syntaxes of files; a broken one is reported when it is its turn."""
    found = set()
    for path in paths:
        with suppress(TransferError):
            found.add(context_of(object_of(path, header_only=True)))
    return sorted(found)


def _tls_context(access: ServerAccess) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if access.ca is None else str(access.ca))
        if access.certificate is not None:
            context.load_cert_chain(access.certificate, access.key)
    except (OSError, ValueError):
        raise OptionError(
            "--ca, --certificate or --key was given; it is not a certificate (PEM), or not the certificate's key"
        ) from None
    return context


def _handlers() -> list[tuple[Any, Any]]:
    from pynetdicom import evt

    return [(evt.EVT_CONN_OPEN, _bound)]


def _bound(event: Any) -> None:
    """Bound what a connection receives in bytes and time; pynetdicom waits for as many bytes as a node announces."""
    transport = event.assoc.dul.socket
    received = 0

    def receive(count: int) -> bytearray:
        nonlocal received
        received += count
        connected: socket.socket = transport.socket
        try:
            if received > _MAX_RECEIVED:
                raise OSError("more than a node's responses have")
            content = _received(connected, count)
            connected.settimeout(None)
        except OSError:
            connected.close()  # pynetdicom takes it for closed by the node
            raise
        return content

    transport.recv = receive


def _received(connected: socket.socket, count: int) -> bytearray:
    """So many bytes, or fewer where the connection ends; ``TimeoutError`` if they take too long as a whole."""
    end, content = time.monotonic() + _TIMEOUT, bytearray()
    while len(content) < count:
        connected.settimeout(max(0.001, end - time.monotonic()))
        chunk = connected.recv(min(_CHUNK, count - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _entity() -> Any:
    try:
        from pynetdicom import AE
    except ImportError:
        raise MissingPackageError(
            "DIMSE was asked for; pynetdicom is not installed: pip install 'pellucid[pacs]'"
        ) from None
    return AE()
