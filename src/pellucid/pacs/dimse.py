"""DIMSE: C-STORE to a node (PS3.4 B, PS3.7), the way of archives without DICOMweb."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pellucid.errors import MissingPackageError, OptionError, TransferError
from pellucid.pacs.dicomweb import Access
from pellucid.pacs.pushing import patiently

_SECONDS = 30
_LONGEST_TITLE = 16
_WARNING = 0xB000
_MOST_KINDS = 128
"""Kinds of objects that an association may be asked for (PS3.8)."""
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


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
        """Refuse titles that are none, and certificates that nobody would be shown."""
        for option, title in (("--aet", self.calling), ("--aec", self.called)):
            if not 0 < len(title.strip()) <= _LONGEST_TITLE or not title.isascii() or "\\" in title:
                raise OptionError(f"{option} {title!r} was given; a title has 1 to 16 plain characters")
        if not self.tls and (self.access.certificate or self.access.ca):
            raise OptionError("--certificate or --ca was given without --tls, which they are for: give it, too")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.called}@{self.host}:{self.port}"

    @contextmanager
    def storing(self, paths: Sequence[Path], retries: int = 0) -> Iterator[Sender]:
        """What sends files of these kinds; its association is made anew where it ended.

        Raises:
            TransferError: the node cannot be reached, also not when asked ``retries`` times more, or does not accept.
        """
        sender = Sender(self, sorted({kind for path in paths if (kind := _kind(path))}))
        if sender.kinds:
            sender.association = patiently(partial(self.associated, sender.kinds), retries)
        try:
            yield sender
        finally:
            sender.release()

    def associated(self, kinds: Sequence[tuple[str, str]]) -> Any:
        """An association for objects of these kinds.

        Raises:
            TransferError: the node cannot be reached, or does not accept.
        """
        entity = _entity()
        entity.ae_title = self.calling
        for kind, syntax in kinds[:_MOST_KINDS]:
            entity.add_requested_context(kind, list(dict.fromkeys([syntax, *_PLAIN])))
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _SECONDS
        secured = (_context(self.access), self.host) if self.tls else None
        try:
            association = entity.associate(self.host, self.port, ae_title=self.called, tls_args=secured)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TransferError(f"{self.name}: it cannot be reached ({reason})", retry=True) from None
        if not association.is_established:
            refused = association.is_rejected
            reason = "it does not accept us: check --aet and --aec" if refused else "it cannot be reached"
            raise TransferError(f"{self.name}: {reason}", retry=not refused)
        return association


@dataclass
class Sender:
    """What sends objects to a node, of these kinds (SOP classes and transfer syntaxes)."""

    node: Node
    kinds: Sequence[tuple[str, str]]
    association: Any = None

    def store(self, path: Path) -> None:
        """Store a file's object.

        Raises:
            TransferError: the node cannot be reached, does not take it, or is gone.
        """
        if _kind(path) is None:
            raise TransferError(f"{path.name}: it is a broken DICOM file")
        if self.association is None or not self.association.is_established:
            self.association = self.node.associated(self.kinds)
        name = self.node.name
        try:
            status = self.association.send_c_store(path)
        except (RuntimeError, ValueError, AttributeError) as error:
            gone = not self.association.is_established
            kind = "the association ended" if gone else f"it does not take such an object ({type(error).__name__})"
            raise TransferError(f"{name}: {path.name}: {kind}", retry=gone) from None
        code = status.get("Status")
        if code is None:
            raise TransferError(f"{name}: {path.name}: it did not answer, or ended the association", retry=True)
        if code != 0 and code & 0xF000 != _WARNING:
            raise TransferError(f"{name}: it does not take {path.name} (status {code:#06x})")

    def release(self) -> None:
        """End the association, if there is one."""
        if self.association is not None and self.association.is_established:
            self.association.release()


def node(address: str, calling: str, called: str, tls: bool, access: Access) -> Node:
    """What HOST:PORT means.

    Raises:
        OptionError: it means nothing.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise OptionError(f"--dicom {address} was given; write HOST:PORT, such as pacs.example.org:104")
    return Node(host.strip("[]"), int(port), calling, called, tls, access)


def _kind(path: Path) -> tuple[str, str] | None:
    """What a file holds, and how; None of a broken one."""
    try:
        meta = dcmread(path, stop_before_pixels=True).file_meta
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except Exception:  # a broken file's
        return None


def _context(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if access.ca is None else str(access.ca))
        if access.certificate is not None:
            context.load_cert_chain(access.certificate, access.key)
    except (OSError, ValueError):
        raise OptionError(
            "--ca, --certificate or --key was given; it is no certificate, or no key of it (PEM)"
        ) from None
    return context


def _entity() -> Any:
    try:
        from pynetdicom import AE
    except ImportError:
        raise MissingPackageError(
            "DIMSE was asked for; pynetdicom is not installed: pip install 'pellucid[pacs]'"
        ) from None
    return AE()
