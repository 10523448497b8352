"""DIMSE: C-STORE to a node (PS3.4 B, PS3.7), the way of archives without DICOMweb."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pellucid.errors import MissingPackageError, OptionError, TransferError
from pellucid.pacs.dicomweb import Access

_SECONDS = 30
_LONGEST_TITLE = 16
_WARNING = 0xB000


@dataclass(frozen=True)
class Node:
    """A node at a host and port, called ``called``, to which we are ``calling``. ``tls``: encrypted, and verified."""

    host: str
    port: int
    calling: str = "PELLUCID"
    called: str = "ANY-SCP"
    tls: bool = False
    access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        """Refuse titles that are none."""
        for option, title in (("--aet", self.calling), ("--aec", self.called)):
            if not 0 < len(title.strip()) <= _LONGEST_TITLE or not title.isascii() or "\\" in title:
                raise OptionError(f"{option} {title!r} was given; a title has 1 to 16 plain characters")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.called}@{self.host}:{self.port}"

    @contextmanager
    def storing(self, paths: Sequence[Path]) -> Iterator[Sender]:
        """An association that takes objects of these files' kinds, for as long as this lasts.

        Raises:
            TransferError: the node cannot be reached, or does not accept.
        """
        entity = _entity()
        entity.ae_title = self.calling
        for kind, syntax in sorted({_kind(path) for path in paths}):
            entity.add_requested_context(kind, list(dict.fromkeys([syntax, *_PLAIN])))
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _SECONDS
        secured = (_context(self.access), self.host) if self.tls else None
        association = entity.associate(self.host, self.port, ae_title=self.called, tls_args=secured)
        if not association.is_established:
            refused = association.is_rejected
            reason = "it does not accept us: check --aet and --aec" if refused else "it cannot be reached"
            raise TransferError(f"{self.name}: {reason}", retry=not refused)
        try:
            yield Sender(self.name, association)
        finally:
            association.release()


@dataclass(frozen=True)
class Sender:
    """An association."""

    name: str
    association: Any

    def store(self, path: Path) -> None:
        """Store a file's object.

        Raises:
            TransferError: the node does not take it, or is gone.
        """
        try:
            status = self.association.send_c_store(path)
        except (RuntimeError, ValueError) as error:
            gone = not self.association.is_established
            kind = "the association ended" if gone else f"it does not take such an object ({type(error).__name__})"
            raise TransferError(f"{self.name}: {path.name}: {kind}", retry=gone) from None
        code = status.get("Status")
        if code is None:
            raise TransferError(f"{self.name}: {path.name}: it did not answer in time", retry=True)
        if code != 0 and code & 0xF000 != _WARNING:
            raise TransferError(f"{self.name}: it does not take {path.name} (status {code:#06x})")


_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


def node(address: str, calling: str, called: str, tls: bool, access: Access) -> Node:
    """What HOST:PORT means.

    Raises:
        OptionError: it means nothing.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise OptionError(f"--dicom {address} was given; write HOST:PORT, such as pacs.example.org:104")
    return Node(host.strip("[]"), int(port), calling, called, tls, access)


def _kind(path: Path) -> tuple[str, str]:
    meta = dcmread(path, stop_before_pixels=True).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)


def _context(access: Access) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if access.ca is None else str(access.ca))
    if access.certificate is not None:
        context.load_cert_chain(access.certificate, access.key)
    return context


def _entity() -> Any:
    try:
        from pynetdicom import AE
    except ImportError:
        raise MissingPackageError(
            "DIMSE was asked for; pynetdicom is not installed: pip install 'pellucid[pacs]'"
        ) from None
    return AE()
