"""An MLflow server, asked by its REST interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from pellucid.core.addresses import without_credentials
from pellucid.errors import SourceError, TransferError
from pellucid.models.mlflow_artifacts.access import access
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.names import Registered, is_component, shown_name
from pellucid.models.mlflow_artifacts.places import SERVED, files_at, missing, of_version
from pellucid.models.mlflow_artifacts.tracking import BY_HAND, Entry, Files, Stored
from pellucid.models.sources.base import package

if TYPE_CHECKING:
    from pellucid.models.mlflow_artifacts.answers import Answers, Missing

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class Server:
    """Registered models, logged models and runs of a server."""

    def __init__(self, answers: Answers, bounds: Bounds) -> None:
        self.shown = answers.shown
        self._answers = answers
        self._bounds = bounds

    @classmethod
    def at(cls, uri: str, bounds: Bounds) -> Server:
        """The server at an address, with the access that MLflow's settings state."""
        package("requests", f"a model of {without_credentials(uri)}", "track")
        from pellucid.models.mlflow_artifacts.answers import Answers

        return cls(Answers(without_credentials(uri).rstrip("/"), access(uri), bounds), bounds)

    def registered(self, asked: Registered) -> Stored:
        """The version of a registered model."""
        name = asked.name
        record = self._version(asked)
        number = str(record.get("version"))
        if not number.isdigit():
            raise self._strange()
        location = self._object("model-versions/get-download-uri", {"name": name, "version": number}, "")
        known = {**record, "storage_location": location.get("artifact_uri")}
        return of_version(name, number, known, self.logged)

    def logged(self, model_id: str) -> Stored:
        """A logged model."""
        found = self._object(f"logged-models/{quote(model_id, '')}", {}, f"logged model {model_id}")
        model = _mapping(found.get("model"))
        about, settings = _mapping(model.get("info")), _pairs(_mapping(model.get("data")).get("params"))
        run_id = about.get("source_run_id")
        return Stored(
            f"models:/{model_id}",
            str(about.get("artifact_uri")),
            run_id if isinstance(run_id, str) and run_id else None,
            model_id,
            settings,
        )

    def run(self, run_id: str) -> Stored:
        """A run."""
        found = self._run(run_id)
        settings = _pairs(_mapping(found.get("data")).get("params"))
        return Stored(
            f"runs:/{run_id}", str(_mapping(found.get("info")).get("artifact_uri")), run_id, settings=settings
        )

    def models_of(self, run_id: str) -> Mapping[str, str]:
        """The identifiers of the models that a run logged, with their names."""
        experiment = str(_mapping(self._run(run_id).get("info")).get("experiment_id"))
        body = {"experiment_ids": [experiment], "filter": f"source_run_id = '{run_id}'", "max_results": 50}
        found = self._answers.asked(f"{API}/logged-models/search", {}, body)
        listed = found.get("models") if isinstance(found, Mapping) else []
        models = [_mapping(_mapping(each).get("info")) for each in _sequence(listed)]
        return {
            str(each.get("model_id")): str(each.get("name")) for each in models if each.get("source_run_id") == run_id
        }

    def files(self, location: str) -> Files:
        """The artifacts at a location that the server states: those that it sends itself, or in a folder."""
        served = location.startswith(f"{SERVED}:")
        if not served and not location.startswith(f"{self.shown}{ARTIFACTS}/"):
            return files_at(location, self.shown, self._bounds)
        parts = urlsplit(location)
        if served and parts.netloc not in ("", urlsplit(self.shown).netloc):
            raise SourceError(
                f"{self.shown} states that the artifacts are with another server, "
                f"{shown_name(without_credentials(location))}, which is not asked; {BY_HAND}"
            )
        root = parts.path if served else location.removeprefix(f"{self.shown}{ARTIFACTS}/")
        names = [name for name in root.split("/") if name]
        if not all(map(is_component, names)):
            raise SourceError(f"{self.shown} states artifacts at {shown_name(root)!r}, which is no plain path")
        return ServedFiles(self._answers, "/".join(names), self._bounds)

    def _version(self, asked: Registered) -> Mapping[str, Any]:
        name = asked.name
        if asked.alias is not None:
            given, what = {"name": name, "alias": asked.alias}, f"alias {asked.alias!r} of {name!r}"
            return _mapping(self._object("registered-models/alias", given, what).get("model_version"))
        if asked.version is not None:
            given, what = {"name": name, "version": asked.version}, f"version {asked.version} of {name!r}"
            return _mapping(self._object("model-versions/get", given, what).get("model_version"))
        what = f"version of {name!r}" + (f" in {asked.stage}" if asked.stage else "")
        body = {"name": name, "stages": [asked.stage] if asked.stage else []}
        found = self._object("registered-models/get-latest-versions", {}, what, body).get("model_versions")
        numbered = [each for each in map(_mapping, _sequence(found)) if str(each.get("version")).isdigit()]
        if not numbered:
            raise missing(self.shown, what)
        return max(numbered, key=lambda each: int(each["version"]))

    def _run(self, run_id: str) -> Mapping[str, Any]:
        return _mapping(self._object("runs/get", {"run_id": run_id}, f"run {run_id}").get("run"))

    def _object(
        self, path: str, given: Mapping[str, str], what: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        found = self._answers.asked(f"{API}/{path}", given, body)
        if isinstance(found, Mapping):
            return found
        raise missing(self.shown, what) if _is_known(found) and what else self._strange()

    def _strange(self) -> TransferError:
        return TransferError(f"{self.shown} does not answer as an MLflow 3 server does; check MLFLOW_TRACKING_URI")


class ServedFiles:
    """Artifacts that the server sends, below a folder."""

    def __init__(self, answers: Answers, root: str, bounds: Bounds) -> None:
        self._answers = answers
        self._root = root
        self._bounds = bounds

    def listed(self, path: str) -> list[Entry]:
        """What is in a folder; nothing where there is no such folder."""
        found = self._answers.asked(ARTIFACTS, {"path": self._whole(path)})
        files = _sequence(found.get("files")) if isinstance(found, Mapping) else []
        if len(files) > self._bounds.entries:
            raise TransferError(
                f"{self._answers.shown} lists more than {self._bounds.entries:,} files; name one of them"
            )
        return [self._entry(_mapping(each)) for each in files]

    def fetched(self, path: str, size: int | None, target: Path, most: int) -> Path:
        """Write an artifact's content into ``target``."""
        if size is not None and size > most:
            raise SourceError(f"{self._answers.shown}: {path} has {size:,} bytes; at most {most:,} are read")
        if not self._answers.saved(f"{ARTIFACTS}/{quote(self._whole(path))}", size, target, most):
            raise SourceError(f"{self._answers.shown} has no file {path}; check the name")
        return target

    def _whole(self, path: str) -> str:
        return f"{self._root}/{path}".strip("/")

    def _entry(self, stated: Mapping[str, Any]) -> Entry:
        name, size = stated.get("path"), stated.get("file_size")
        if not is_component(name):
            raise TransferError(
                f"{self._answers.shown} lists a file {shown_name(str(name))!r}, which is no plain name; nothing is read"
            )
        text = str(size)  # JSON's numbers of 64 bits are text
        whole = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
        return Entry(str(name), stated.get("is_dir") is True, whole)


def _is_known(found: Missing | Mapping[str, Any]) -> bool:
    """Whether it is MLflow that says that there is no such record."""
    return not isinstance(found, Mapping) and found.code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _pairs(value: object) -> Mapping[str, str]:
    pairs = map(_mapping, _sequence(value))
    return {str(pair.get("key")): str(pair.get("value")) for pair in pairs}
