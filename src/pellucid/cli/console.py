"""What all commands share: how they speak, and how they end."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer
from rich.console import Console

from pellucid.errors import PellucidError, PellucidWarning

SPEC = "torchvision:, timm:, hf:, xrv: or monai: and a NAME, path/to/file.py:factory, or path/to/model.onnx."
"""What commands say of a model's specification."""
SOME_FAILED = 1
NOTHING_DONE = 3
INTERRUPTED = 130


def complain(text: str) -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(printable(text), markup=False)


def printable(text: str) -> str:
    """A text in one line and without control characters: a file's name must not steer the terminal."""
    line = " ".join(text.splitlines()).encode("utf-8", "replace").decode()
    return "".join(char if char.isprintable() else "?" for char in line)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn errors into one line and an exit code, warnings into one line, and an interrupt into 130."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", PellucidWarning)
            warnings.showwarning = _show
            # It says of each machine without a GPU that it has none.
            logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
            for name in ("dicomweb_client", "highdicom", "pydicom", "pynetdicom", "retrying"):
                # What they say may hold what the files and addresses do: patients and studies.
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            yield
    except PellucidError as error:
        complain(f"error: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        complain("interrupted: the files that were finished stay")
        raise typer.Exit(INTERRUPTED) from None


def _show(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001  # the signature is Python's
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    complain(f"warning: {message}")


def print_json(text: str) -> None:
    """JSON on standard output, as it is."""
    sys.stdout.write(text + "\n")
