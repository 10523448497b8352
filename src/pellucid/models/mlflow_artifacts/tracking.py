"""What MLflow's records and files are read as, wherever they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pellucid.models.mlflow_artifacts.names import Registered

BY_HAND = "download the file with `mlflow artifacts download`, and give its path as checkpoint="
"""What works wherever MLflow itself does."""


@dataclass(frozen=True)
class Entry:
    """A file or folder among artifacts. ``size`` is in bytes, None where it is not known."""

    name: str
    is_folder: bool
    size: int | None = None


class Files(Protocol):
    """The artifacts of a model or run. Paths are relative, with slashes; every part of one is a plain name."""

    def listed(self, path: str) -> list[Entry]:
        """What is in a folder; nothing where there is no such folder."""
        ...

    def fetched(self, path: str, size: int | None, target: Path, most: int) -> Path:
        """Return a local file with an artifact's content: ``target``, or the artifact itself.

        ``SourceError`` or ``TransferError``: it is not there, or it has more than ``most`` bytes.
        """
        ...


@dataclass(frozen=True)
class Stored:
    """What a name stands for: where its artifacts are, and what is recorded of it.

    ``uri`` names it for ever: an alias is replaced by the version that it stands for now. ``settings`` are the
    parameters that were logged.
    """

    uri: str
    location: str
    run_id: str | None = None
    model_id: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


class Tracking(Protocol):
    """A server, database or folder with MLflow's records. ``SourceError``: it has no such record."""

    shown: str
    """Its address in a message, without credentials."""

    def registered(self, asked: Registered) -> Stored:
        """The version of a registered model."""
        ...

    def logged(self, model_id: str) -> Stored:
        """A logged model."""
        ...

    def run(self, run_id: str) -> Stored:
        """A run."""
        ...

    def models_of(self, run_id: str) -> Mapping[str, str]:
        """The identifiers of the models that a run logged, with their names."""
        ...

    def files(self, location: str) -> Files:
        """The artifacts at a location that it stated."""
        ...
