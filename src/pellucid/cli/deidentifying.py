"""The options of ``pellucid explain`` that remove the identity from DICOM results, as a ``Deidentifier``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.console import OUTPUT_PANEL
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.export.deidentify import Deidentifier
    from pellucid.run.inputs import Input
    from pellucid.run.outcome import Outcome

_FAILED = "it could not be explained; the messages of the run have the reason"
Deidentify = Annotated[
    bool,
    typer.Option(
        "--deidentify",
        help="Replace names, identifiers, dates and UIDs in DICOM results (PS3.15, basic profile), and results' names.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
DeidentifyKey = Annotated[
    Path | None,
    typer.Option(
        help="File with a secret for --deidentify: runs with the same one replace alike (default: drawn anew).",
        rich_help_panel=OUTPUT_PANEL,
    ),
]


def deidentifier(asked: bool, key: Path | None, keep_identity: bool) -> Deidentifier | None:
    """What removes the identity, if it was asked for.

    Raises:
        OptionError: the options contradict one another, or the key cannot be read or is too short.
    """
    if asked and keep_identity:
        raise OptionError("--deidentify and --keep-identity were given; give one of them")
    if key is not None and not asked:
        raise OptionError(f"--deidentify-key {key} was given without --deidentify: give --deidentify, too")
    if not asked:
        return None
    from pellucid.export.deidentify import MIN_KEY, Deidentifier

    if key is None:
        return Deidentifier()
    try:
        secret = key.read_bytes().strip()
    except OSError as error:
        raise OptionError(f"--deidentify-key {key} was given; it cannot be read ({error.strerror})") from None
    if len(secret) < MIN_KEY:
        raise OptionError(
            f"--deidentify-key {key} was given; its secret has {len(secret)} bytes: give at least {MIN_KEY}"
        )
    return Deidentifier(secret)


def result_names(files: Sequence[Input], deidentifier: Deidentifier, key: Path | None) -> list[str]:
    """The names of the results: numbers, or with a key that lasts names that are the same in all runs."""
    from pellucid.run.renaming import keyed, numbered

    return numbered(files) if key is None else keyed(files, deidentifier)


def failures(outcomes: Sequence[Outcome], files: Sequence[Input], deidentified: bool) -> Mapping[str, str]:
    """The inputs that failed, and why; without identity, by the names of their results, as a reason may name files."""
    failed = [(outcome, file) for outcome, file in zip(outcomes, files, strict=True) if outcome.error is not None]
    if deidentified:
        return {str(file.stem): _FAILED for _, file in failed}
    return {str(outcome.path): str(outcome.error) for outcome, _ in failed}
