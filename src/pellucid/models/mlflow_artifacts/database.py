"""MLflow's SQLite database, read only: its own client changes the schema of one that another version wrote."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pellucid.errors import SourceError, message_of
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.local import LocalFiles
from pellucid.models.mlflow_artifacts.names import Registered
from pellucid.models.mlflow_artifacts.places import files_at, missing, of_version
from pellucid.models.mlflow_artifacts.tracking import Stored

_VERSION = "SELECT version, source, run_id, storage_location FROM model_versions WHERE name = ?"
_NUMBERED = _VERSION + " AND version = ?"
_OF_ALIAS = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
_NEWEST = _VERSION + " ORDER BY version DESC LIMIT 1"
_OF_STAGE = _VERSION + " AND current_stage = ? ORDER BY version DESC LIMIT 1"
_LOGGED = "SELECT artifact_location, source_run_id FROM logged_models WHERE model_id = ?"
_RUN = "SELECT artifact_uri FROM runs WHERE run_uuid = ?"
_OF_RUN = "SELECT model_id, name FROM logged_models WHERE source_run_id = ? LIMIT ?"
_NAMES = "SELECT name FROM registered_models LIMIT ?"
_SETTINGS_OF_MODEL = "SELECT param_key, param_value FROM logged_model_params WHERE model_id = ? LIMIT ?"
_SETTINGS_OF_RUN = "SELECT key, value FROM params WHERE run_uuid = ? LIMIT ?"


class Database:
    """Tables of registered models, logged models and runs."""

    def __init__(self, path: Path, shown: str, bounds: Bounds) -> None:
        self.shown = shown
        self._path = path
        self._bounds = bounds

    @classmethod
    def at(cls, uri: str, bounds: Bounds) -> Database:
        """The database at ``sqlite:///path``. ``SourceError``: there is none."""
        path = Path(unquote(urlsplit(uri).path.removeprefix("/")))
        shown = f"sqlite:///{path}"
        if not path.is_file():
            raise SourceError(f"{shown}: no such database; set MLFLOW_TRACKING_URI to where MLflow's records are")
        return cls(path, shown, bounds)

    def registered(self, asked: Registered) -> Stored:
        """The version of a registered model."""
        name = asked.name
        if asked.alias is not None:
            what, rows = f"alias {asked.alias!r} of {name!r}", self._aliased(name, asked.alias)
        elif asked.version is not None:
            what, rows = f"version {asked.version} of {name!r}", self._rows(_NUMBERED, name, int(asked.version))
        elif asked.stage is not None:
            what, rows = f"version of {name!r} in {asked.stage}", self._rows(_OF_STAGE, name, asked.stage)
        else:
            what, rows = f"version of {name!r}", self._rows(_NEWEST, name)
        if not rows:
            known = [str(row["name"]) for row in self._rows(_NAMES, self._bounds.entries)]
            raise missing(self.shown, what if name in known else f"registered model {name!r}", known, name)
        return of_version(name, str(rows[0]["version"]), rows[0], self.logged)

    def logged(self, model_id: str) -> Stored:
        """A logged model."""
        row = self._first(_LOGGED, model_id, f"logged model {model_id}")
        settings = self._settings(_SETTINGS_OF_MODEL, model_id)
        return Stored(f"models:/{model_id}", row["artifact_location"], row["source_run_id"], model_id, settings)

    def run(self, run_id: str) -> Stored:
        """A run."""
        row = self._first(_RUN, run_id, f"run {run_id}")
        return Stored(f"runs:/{run_id}", row["artifact_uri"], run_id, settings=self._settings(_SETTINGS_OF_RUN, run_id))

    def models_of(self, run_id: str) -> Mapping[str, str]:
        """The identifiers of the models that a run logged, with their names."""
        rows = self._rows(_OF_RUN, run_id, self._bounds.entries)
        return {str(row["model_id"]): str(row["name"]) for row in rows}

    def files(self, location: str) -> LocalFiles:
        """The artifacts at a location that a record states."""
        return files_at(location, self.shown, self._bounds)

    def _aliased(self, name: str, alias: str) -> list[dict[str, Any]]:
        found = self._rows(_OF_ALIAS, name, alias)
        return self._rows(_NUMBERED, name, found[0]["version"]) if found else []

    def _settings(self, query: str, key: str) -> Mapping[str, str]:
        return {str(name): str(value) for name, value in map(dict.values, self._rows(query, key, self._bounds.entries))}

    def _first(self, query: str, key: str, what: str) -> Mapping[str, Any]:
        rows = self._rows(query, key)
        if not rows:
            raise missing(self.shown, what)
        return rows[0]

    def _rows(self, query: str, *values: str | int) -> list[dict[str, Any]]:
        import sqlite3  # not every Python has it

        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as database:
                found = database.execute(query, values)
                names = [column[0] for column in found.description]
                return [dict(zip(names, row, strict=True)) for row in found]
        except (sqlite3.Error, OverflowError) as error:
            raise SourceError(
                f"{self.shown}: not a database of MLflow 3, or one that is locked ({message_of(error)}); start "
                "`mlflow server` before it, and set MLFLOW_TRACKING_URI to its address"
            ) from None
