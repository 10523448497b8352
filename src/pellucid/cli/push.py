"""``pellucid push``: results to a PACS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.access import RETRIES, Authority, Certificate, Key, Retries, TokenFile, access_by
from pellucid.cli.console import NOTHING_DONE, SOME_FAILED, complain, guarded
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.pacs.dicomweb import Access
    from pellucid.pacs.pushing import Sent


def push(  # noqa: PLR0913  # a command's options are its parameters
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of DICOM results, or one.")],
    dicomweb: Annotated[str | None, typer.Option(metavar="URL", help="A DICOMweb service, by STOW-RS.")] = None,
    dicom: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="A DICOM node, by C-STORE.")] = None,
    aet: Annotated[str, typer.Option(help="What we are called, as a node.")] = "PELLUCID",
    aec: Annotated[str, typer.Option(help="What the node is called.")] = "ANY-SCP",
    tls: Annotated[bool, typer.Option("--tls", help="C-STORE over TLS.")] = False,
    token_file: TokenFile = None,
    certificate: Certificate = None,
    key: Key = None,
    ca: Authority = None,
    retries: Retries = RETRIES,
) -> None:
    """Send DICOM results to a PACS: each once, also where an earlier run was interrupted.

    What the server took is noted in DIR/.pellucid-pushed.json. Certificates are verified.
    """
    with guarded():
        from pellucid.pacs.pushing import objects

        if (dicomweb is None) == (dicom is None):
            raise OptionError("where to send is not said, or twice: give --dicomweb URL or --dicom HOST:PORT")
        access = access_by(token_file, certificate, key, ca)
        paths = objects(folder)
        sent = list(_told(_sent(folder, paths, dicomweb, dicom, (aet, aec, tls), access, retries)))
        failed, skipped = sum(one.error is not None for one in sent), sum(one.skipped for one in sent)
        counts = {"sent before": skipped, "failed": failed, "not tried": len(paths) - len(sent)}
        others = "".join(f", {count} {what}" for what, count in counts.items() if count)
        typer.echo(f"{len(sent) - failed - skipped} sent{others}")
        if failed:
            raise typer.Exit(NOTHING_DONE if failed == len(sent) else SOME_FAILED)


def _sent(
    folder: Path,
    paths: Sequence[Path],
    dicomweb: str | None,
    dicom: str | None,
    node: tuple[str, str, bool],
    access: Access,
    retries: int,
) -> Iterator[Sent]:
    from pellucid.pacs.dicomweb import Server
    from pellucid.pacs.dimse import node as node_at
    from pellucid.pacs.pushing import Ledger, pushed

    if dicomweb is not None:
        server = Server(dicomweb, access)
        yield from pushed(paths, server.store, Ledger.of(folder, server.url), retries)
        return
    at = node_at(dicom or "", *node, access)
    with at.storing(paths, retries) as sender:
        yield from pushed(paths, sender.store, Ledger.of(folder, at.name), retries)


def _told(sent: Iterator[Sent]) -> Iterator[Sent]:
    for one in sent:
        if one.error is not None:
            complain(f"error: {one.error}")
        yield one
