"""What the stores of records share: where a version's artifacts are, and the errors for what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from pellucid.core.addresses import without_credentials
from pellucid.errors import SourceError, did_you_mean
from pellucid.models.mlflow_artifacts.bounds import Bounds
from pellucid.models.mlflow_artifacts.local import LocalFiles, local_path
from pellucid.models.mlflow_artifacts.names import Logged, parsed, shown_name
from pellucid.models.mlflow_artifacts.tracking import BY_HAND, Stored

SERVED = "mlflow-artifacts"
"""The scheme of artifacts that the server itself sends."""


def missing(where: str, what: str, known: Iterable[str] = (), name: str = "") -> SourceError:
    """Return the error for a record that does not exist; of the ``known`` names those near ``name`` are shown."""
    near = did_you_mean(name, list(known))
    return SourceError(f"{where} has no {what}{near or '; check the name, and MLFLOW_TRACKING_URI'}")


def of_version(name: str, number: str, record: Mapping[str, Any], logged: Callable[[str], Stored]) -> Stored:
    """Return what a record of a version states; where its source is a logged model, with that model's parameters."""
    location, source = record.get("storage_location"), record.get("source")
    uri, run_id = f"models:/{name}/{number}", record.get("run_id")
    place = str(location or source)
    run = run_id if isinstance(run_id, str) and run_id else None
    model_id = _model_id(record.get("model_id"), source)
    if model_id is None:
        return Stored(uri, place, run)
    known = logged(model_id)
    found = known.location if place.startswith("models:") else place
    return replace(known, uri=uri, location=found, run_id=run or known.run_id)


def _model_id(stated: object, source: object) -> str | None:
    """The identifier of the logged model that a version was registered from."""
    for text in (f"models:/{stated}", source):
        if isinstance(text, str) and text.startswith("models:/m-"):
            try:
                name = parsed(text)
            except SourceError:
                continue
            if isinstance(name, Logged):
                return name.model_id
    return None


def files_at(location: str, where: str, bounds: Bounds) -> LocalFiles:
    """Return the artifacts at a location on this machine. ``SourceError``: it is elsewhere, or not there."""
    shown = shown_name(without_credentials(location))
    if location.startswith(f"{SERVED}:"):
        raise SourceError(
            f"{where}: the artifacts are with an MLflow server ({shown}); set MLFLOW_TRACKING_URI to its address"
        )
    path = local_path(location)
    if path is None:
        raise SourceError(f"{where}: the artifacts are at {shown}, which is not read from here; {BY_HAND}")
    if not path.is_dir():
        raise SourceError(
            f"{where}: the artifacts are stated to be in {shown}, where nothing is; if that is a path of another "
            "machine, let its server send the artifacts"
        )
    return LocalFiles(path, bounds)
