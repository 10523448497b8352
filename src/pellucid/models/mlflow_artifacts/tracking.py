"""Where MLflow keeps its records and files: the protocols, and the one that the user's settings name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pellucid.core.addresses import without_credentials
from pellucid.errors import SourceError
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.names import Registered

TRACKING, REGISTRY = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
"""MLflow's settings. ``mlflow.set_tracking_uri`` and ``set_registry_uri`` write them, too."""
DATABASE, FOLDER = "mlflow.db", "mlruns"
"""Where MLflow keeps everything if nothing is set: in the current folder."""


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


def address(of_models: bool) -> str:
    """The address that the user's settings name, or the database or folder in the current folder.

    ``of_models``: of registered models. ``SourceError``: there is none.
    """
    given = (os.environ.get(REGISTRY) if of_models else None) or os.environ.get(TRACKING)
    if given:
        return given
    if Path(DATABASE).is_file():
        return f"sqlite:///{DATABASE}"
    if Path(FOLDER).is_dir():
        return FOLDER
    raise SourceError(
        f"a model of MLflow was asked for, and no server is known: set {TRACKING} to its address, to "
        f"sqlite:///path/to/{DATABASE} or to a folder"
    )


def tracking(uri: str, bounds: Bounds) -> Tracking:
    """Return what is at an address. ``SourceError``: it is of a kind that is not read."""
    from pellucid.models.mlflow_artifacts.database import Database
    from pellucid.models.mlflow_artifacts.folder import Folder
    from pellucid.models.mlflow_artifacts.local import local_path
    from pellucid.models.mlflow_artifacts.server import Server

    scheme = uri.partition("://")[0].lower() if "://" in uri else uri.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return Server.at(uri, bounds)
    if scheme == "sqlite":
        return Database.at(uri, bounds)
    path = local_path(uri)
    if path is not None and uri not in _WORKSPACES:
        return Folder(path, bounds)
    raise SourceError(
        f"{TRACKING} is {without_credentials(uri)}; models are read from http://…, https://…, sqlite:///… and "
        f"folders: start `mlflow server` before it, or {BY_HAND}"
    )


BY_HAND = "download the file with `mlflow artifacts download`, and give its path as checkpoint="
"""What works wherever MLflow itself does."""
_WORKSPACES = ("databricks", "databricks-uc", "uc")
"""Settings that name a workspace, and no folder."""
