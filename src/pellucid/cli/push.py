"""``pellucid push``: send results to a PACS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.access import (
    RETRIES,
    TIMEOUT,
    Authority,
    Certificate,
    Key,
    Retries,
    Timeout,
    TokenFile,
    server_access,
)
from pellucid.cli.console import NOTHING_DONE, SOME_FAILED, complain, guarded
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.pacs.access import ServerAccess
    from pellucid.pacs.pushing import Sent


EXAMPLES = (
    "pellucid push results --dicomweb https://pacs.example.org/dicom-web",
    "pellucid push results --dicom pacs.example.org:104 --aec ARCHIVE",
)


def push(  # noqa: PLR0913  # a command's options are its parameters
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of DICOM results, or one file.")],
    dicomweb: Annotated[str | None, typer.Option(metavar="URL", help="DICOMweb service to send to (STOW-RS).")] = None,
    dicom: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="DICOM node to send to (C-STORE).")] = None,
    aet: Annotated[str, typer.Option(help="Our AE title.")] = "PELLUCID",
    aec: Annotated[str, typer.Option(help="AE title of the node.")] = "ANY-SCP",
    tls: Annotated[bool, typer.Option("--tls", help="Use TLS with --dicom.")] = False,
    token_file: TokenFile = None,
    certificate: Certificate = None,
    key: Key = None,
    ca: Authority = None,
    retries: Retries = RETRIES,
    timeout: Timeout = TIMEOUT,
) -> None:
    """Send DICOM results to a PACS, each file once, continuing after an interrupted run.

    DIR/.pellucid-pushed.json records what the server accepted. Certificates are always verified.
    """
    with guarded():
        from pellucid.pacs.pushing import objects

        if (dicomweb is None) == (dicom is None):
            raise OptionError("no destination was given, or two: give either --dicomweb URL or --dicom HOST:PORT")
        access = server_access(token_file, certificate, key, ca, retries, timeout)
        paths = objects(folder)
        sent = list(_reported(_sent(folder, paths, dicomweb, dicom, (aet, aec, tls), access)))
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
    access: ServerAccess,
) -> Iterator[Sent]:
    """Send the files to the one destination that was given, and yield each outcome."""
    from pellucid.pacs.dicomweb import Server
    from pellucid.pacs.dimse import parse_node
    from pellucid.pacs.pushing import Ledger
    from pellucid.pacs.pushing import push as push_files

    if dicomweb is not None:
        server = Server(dicomweb, access)
        yield from push_files(paths, server.store, Ledger.of(folder, server.url), access)
        return
    target = parse_node(dicom or "", *node, access)
    with target.sender(paths) as sender:
        yield from push_files(paths, sender.store, Ledger.of(folder, target.name), access)


def _reported(sent: Iterator[Sent]) -> Iterator[Sent]:
    for one in sent:
        if one.error is not None:
            complain(f"error: {one.error}")
        yield one
