"""A folder with MLflow's records, ``mlruns``: read only, while MLflow's own client writes into it and refuses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.errors import SourceError
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.local import LocalFiles
from pellucid.models.mlflow_artifacts.names import Registered
from pellucid.models.mlflow_artifacts.places import files_at, missing, of_version
from pellucid.models.mlflow_artifacts.plain_yaml import mapping_in
from pellucid.models.mlflow_artifacts.tracking import Stored

MODELS, ALIASES, PARAMETERS, RECORD = "models", "aliases", "params", "meta.yaml"
_VERSION = "version-"


class Folder:
    """Registered models in ``models/``, and for each experiment a folder with its runs and logged models."""

    def __init__(self, root: Path, bounds: Bounds) -> None:
        self.shown = str(root)
        self._root = root
        self._bounds = bounds
        if not root.is_dir():
            raise SourceError(
                f"{root}: no such folder with MLflow's records; set MLFLOW_TRACKING_URI to where they are"
            )

    def registered(self, asked: Registered) -> Stored:
        """The version of a registered model."""
        model = self._root / MODELS / asked.name
        if not (model / RECORD).is_file():
            known = [one.name for one in self._folders(self._root / MODELS)]
            raise missing(self.shown, f"registered model {asked.name!r}", known, asked.name)
        number = self._number(model, asked)
        record = self._record(model / f"{_VERSION}{number}", f"version {number} of {asked.name!r}")
        return of_version(asked.name, number, record, self.logged)

    def logged(self, model_id: str) -> Stored:
        """A logged model."""
        folder = self._found(lambda experiment: experiment / MODELS / model_id, f"logged model {model_id}")
        record = self._record(folder, f"logged model {model_id}")
        location, run_id = record.get("artifact_location"), record.get("source_run_id")
        return Stored(f"models:/{model_id}", str(location), _text(run_id), model_id, self._settings(folder))

    def run(self, run_id: str) -> Stored:
        """A run."""
        folder = self._found(lambda experiment: experiment / run_id, f"run {run_id}")
        record = self._record(folder, f"run {run_id}")
        return Stored(f"runs:/{run_id}", str(record.get("artifact_uri")), run_id, settings=self._settings(folder))

    def models_of(self, run_id: str) -> Mapping[str, str]:
        """The identifiers of the models that a run logged, with their names."""
        experiment = self._found(lambda each: each / run_id, f"run {run_id}").parent
        records = (
            (folder.name, mapping_in(folder / RECORD, self._bounds.description))
            for folder in self._folders(experiment / MODELS)
            if (folder / RECORD).is_file()
        )
        return {name: str(record.get("name")) for name, record in records if record.get("source_run_id") == run_id}

    def files(self, location: str) -> LocalFiles:
        """The artifacts at a location that a record states."""
        return files_at(location, self.shown, self._bounds)

    def _number(self, model: Path, asked: Registered) -> str:
        if asked.version is not None:
            return asked.version
        if asked.alias is not None:
            return self._aliased(model, asked.alias)
        numbers = [folder.name.removeprefix(_VERSION) for folder in self._folders(model)]
        found = [number for number in numbers if number.isascii() and number.isdigit()]
        in_stage = [number for number in found if asked.stage in (None, self._stage(model, number))]
        if not in_stage:
            raise missing(self.shown, f"version of {asked.name!r}" + (f" in {asked.stage}" if asked.stage else ""))
        return max(in_stage, key=int)

    def _aliased(self, model: Path, alias: str) -> str:
        file = model / ALIASES / alias
        number = file.read_text("utf-8", "replace").strip() if file.is_file() and file.stat().st_size < 100 else ""
        if not number.isdigit():
            raise missing(self.shown, f"alias {alias!r} of {model.name!r}")
        return number

    def _stage(self, model: Path, number: str) -> object:
        return self._record(model / f"{_VERSION}{number}", f"version {number}").get("current_stage")

    def _found(self, place: Callable[[Path], Path], what: str) -> Path:
        """The folder of a record, in whichever experiment it is."""
        folders = (place(experiment) for experiment in self._folders(self._root))
        found = next((folder for folder in folders if (folder / RECORD).is_file()), None)
        if found is None:
            raise missing(self.shown, what)
        return found

    def _record(self, folder: Path, what: str) -> Mapping[str, Any]:
        if not (folder / RECORD).is_file():
            raise missing(self.shown, what)
        return mapping_in(folder / RECORD, self._bounds.description)

    def _settings(self, folder: Path) -> Mapping[str, str]:
        files = islice((file for file in _within(folder / PARAMETERS) if file.is_file()), self._bounds.entries)
        return {file.name: file.read_text("utf-8", "replace") for file in files if file.stat().st_size <= 2**14}

    def _folders(self, folder: Path) -> Iterator[Path]:
        return (each for each in islice(_within(folder), self._bounds.entries) if each.is_dir())


def _within(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir()) if folder.is_dir() else [])


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
