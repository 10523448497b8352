"""The options of commands that access a server, as one ``ServerAccess``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.console import SERVER_PANEL
from pellucid.errors import OptionError
from pellucid.pacs.access import ServerAccess

TOKEN = "PELLUCID_TOKEN"  # noqa: S105  # the variable's name
RETRIES = ServerAccess.retries
TIMEOUT = ServerAccess.timeout
MAX_ANSWER = ServerAccess.max_answer
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File with a bearer token for DICOMweb (default: the variable {TOKEN}).", rich_help_panel=SERVER_PANEL
    ),
]
Certificate = Annotated[
    Path | None, typer.Option(help="Client certificate (PEM) to authenticate with.", rich_help_panel=SERVER_PANEL)
]
Key = Annotated[
    Path | None,
    typer.Option(help="Private key (PEM), if the certificate's file has none.", rich_help_panel=SERVER_PANEL),
]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="CA bundle (PEM) to verify the server with.", rich_help_panel=SERVER_PANEL)
]
Retries = Annotated[
    int,
    typer.Option(min=0, help="How often to retry while a server is busy or unreachable.", rich_help_panel=SERVER_PANEL),
]
Timeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.1, help="Longest time of a DICOMweb answer.", rich_help_panel=SERVER_PANEL),
]
MaxAnswer = Annotated[
    int,
    typer.Option(metavar="MIB", min=1, help="Size of the largest object to fetch.", rich_help_panel=SERVER_PANEL),
]


def server_access(  # the options that the commands share
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    ca: Path | None,
    retries: int,
    timeout: float,
    max_answer: int = MAX_ANSWER,
) -> ServerAccess:
    """Combine the options; the token comes from a file or the environment, as all users of a machine see options."""
    token = os.environ.get(TOKEN) or None
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise OptionError(f"--token-file {token_file} was given; it cannot be read ({reason})") from None
    if token is not None and (not token.isascii() or not token.isprintable()):
        raise OptionError("a token was given; it must be one line of printable ASCII characters")
    return ServerAccess(token, certificate, key, ca, retries, timeout=timeout, max_answer=max_answer)
