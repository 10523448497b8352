"""Artifacts in a folder of this machine."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pellucid.errors import SourceError
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.names import is_component
from pellucid.models.mlflow_artifacts.tracking import Entry

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def local_path(location: str) -> Path | None:
    """The path that a location names; None of one that is on no disk of this machine.

    The address of a share of another machine is none: to look there would tell that machine who the user is.
    """
    if location.startswith(("//", "\\\\")):
        return None
    if _DRIVE.match(location):
        return Path(location)
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and not parts.path.startswith("//"):
        return Path(url2pathname(parts.path))
    return Path(location) if not parts.scheme else None


class LocalFiles:
    """Artifacts in a folder. A link that leads out of it is not followed."""

    def __init__(self, root: Path, bounds: Bounds) -> None:
        self._root = root
        self._bounds = bounds

    def listed(self, path: str) -> list[Entry]:
        """What is in a folder; nothing where there is no such folder."""
        folder = self._inside(path)
        if folder is None or not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, self._bounds.entries + 1))
        return [self._entry(folder / name) for name in names if is_component(name)]

    def fetched(self, path: str, _size: int | None, _target: Path, most: int) -> Path:
        """Return the artifact's own path: it is read where it is."""
        file = self._inside(path)
        if file is None or not file.is_file():
            raise SourceError(f"{self._root / path}: no such file, or a link that leads out of the artifacts")
        if file.stat().st_size > most:
            raise SourceError(f"{self._root / path}: larger than {most:,} bytes, which is not read")
        return file

    def _inside(self, path: str) -> Path | None:
        """An artifact's path without links; None if it is outside."""
        root = self._root.resolve()
        found = (root / path).resolve()
        return found if found.is_relative_to(root) else None

    def _entry(self, path: Path) -> Entry:
        known = path.is_file()
        return Entry(path.name, path.is_dir(), path.stat().st_size if known else None)
