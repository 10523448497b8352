"""Which of MLflow's records the user's settings name, and what stands at that address."""

from __future__ import annotations

import os
from pathlib import Path

from pellucid.core.addresses import without_credentials
from pellucid.errors import SourceError
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.database import Database
from pellucid.models.mlflow_artifacts.folder import Folder
from pellucid.models.mlflow_artifacts.local import local_path
from pellucid.models.mlflow_artifacts.server import Server
from pellucid.models.mlflow_artifacts.tracking import BY_HAND, Tracking

TRACKING, REGISTRY = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
"""MLflow's settings. ``mlflow.set_tracking_uri`` and ``set_registry_uri`` write them, too."""
DATABASE, FOLDER = "mlflow.db", "mlruns"
"""Where MLflow keeps everything if nothing is set: in the current folder."""
_WORKSPACES = ("databricks", "databricks-uc", "uc")
"""Settings that name a workspace, and no folder."""


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
