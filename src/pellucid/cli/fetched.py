"""Images that ``pellucid explain`` fetches from servers, in a folder that is kept or in a temporary one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.pacs.access import ServerAccess
    from pellucid.run.outcome import Outcome


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed at the end. Errors that are raised within name its files relative to it."""
    with TemporaryDirectory(prefix="pellucid-") as name:
        folder = Path(name) / "study"  # a part of the results' names where a folder is explained as a whole
        try:
            yield folder
        except PellucidError as error:
            raise _relative(error, folder) from None


def fetched(addresses: Sequence[str], access: ServerAccess, folder: Path) -> list[Path]:
    """Fetch the images at the addresses, and return a folder per address."""
    from pellucid.pacs.dicomweb import parse_resource
    from pellucid.pacs.fetching import fetch

    resources = [parse_resource(address, access) for address in addresses]
    folders = [folder / str(index) if len(resources) > 1 else folder for index, _ in enumerate(resources, 1)]
    for resource, own in zip(resources, folders, strict=True):
        for _ in fetch(resource, own):
            pass
    return folders


def relative_outcome(outcome: Outcome, folder: Path) -> Outcome:
    """An outcome whose path and texts name files relative to a folder."""
    path = outcome.path.relative_to(folder) if outcome.path.is_relative_to(folder) else outcome.path
    texts = [tuple(_without(text, folder) for text in texts) for texts in (outcome.warnings, outcome.refused)]
    error = None if outcome.error is None else _relative(outcome.error, folder)
    return replace(outcome, path=path, warnings=texts[0], refused=texts[1], error=error)


def _relative(error: PellucidError, folder: Path) -> PellucidError:
    error.args = (_without(str(error), folder), *error.args[1:])
    return error


def _without(text: str, folder: Path) -> str:
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), "the temporary folder")
