"""What commands that speak to servers share: how they are allowed in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.pacs.dicomweb import Access

TOKEN = "PELLUCID_TOKEN"  # noqa: S105  # the variable's name
TokenFile = Annotated[
    Path | None, typer.Option(help=f"A file with a bearer token for a DICOMweb server; or the variable {TOKEN}.")
]
Certificate = Annotated[Path | None, typer.Option(help="A certificate (PEM) that the server knows us by.")]
Key = Annotated[Path | None, typer.Option(help="Its key, if that is in a file of its own.")]
Authority = Annotated[Path | None, typer.Option("--ca", help="Certificates (PEM) that the server's is signed by.")]
Retries = Annotated[int, typer.Option(min=0, help="How often a server that is busy or away is asked again.")]
RETRIES = 4


def access_by(token_file: Path | None, certificate: Path | None, key: Path | None, ca: Path | None) -> Access:
    """What a server asks for; a token is not an option itself, which all users of the machine would see."""
    from pellucid.pacs.dicomweb import Access

    token = os.environ.get(TOKEN) or None
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a text file"
            raise OptionError(f"--token-file {token_file} was given; it cannot be read ({reason})") from None
    if token is not None and (not token.isascii() or not token.isprintable()):
        raise OptionError("a token was given; it is one line of plain characters")
    return Access(token, certificate, key, ca)
