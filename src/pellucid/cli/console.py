"""What all commands share: messages on standard error, and exit codes."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

import typer
from rich.console import Console

from pellucid.cli.wording import as_options
from pellucid.errors import PellucidError, PellucidWarning

OUTPUT_PANEL = "Output"
SERVER_PANEL = "Access to a server"
SOME_FAILED = 1
NOTHING_DONE = 3
INTERRUPTED = 130


def complain(text: str) -> None:
    """Print one line on standard error, in the words of the command line."""
    line = printable(as_options(text))
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(line, markup=False)


def printable(text: str) -> str:
    """The text in one line and without control characters: a file's name must not control the terminal."""
    return printable_row(" ".join(text.splitlines()))


def printable_row(text: str) -> str:
    """A row of a table without control characters; its spaces stay."""
    return "".join(char if char.isprintable() else "?" for char in text.encode("utf-8", "replace").decode())


@contextmanager
def guarded() -> Iterator[None]:
    """Report errors in one line and an exit code, warnings in one line, and end with 130 after an interrupt."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", PellucidWarning)
            warnings.showwarning = partial(_show, set())
            # It logs on every machine without a GPU that there is none.
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
            for name in ("highdicom", "nibabel.global", "PIL", "pydicom", "pynetdicom", "requests", "urllib3"):
                # Their messages may quote files and addresses, which can identify patients and studies.
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            yield
    except PellucidError as error:
        complain(f"error: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        complain("interrupted: finished files are kept")
        raise typer.Exit(INTERRUPTED) from None


def _show(
    seen: set[str],
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001  # Python defines the signature
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Print a warning, once: what is true of a model is found again with each batch."""
    text = str(message)
    if text not in seen:
        seen.add(text)
        complain(f"warning: {text}")


def tell_of_page(page: Path | None) -> None:
    """Print where the page of the results is, if there is one."""
    if page is not None:
        typer.echo(printable(f"{page}: open it in a browser"))


def print_json(text: str) -> None:
    """Print JSON on standard output, unformatted."""
    sys.stdout.write(text + "\n")
