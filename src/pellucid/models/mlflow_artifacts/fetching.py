"""Fetch the file of a network that MLflow keeps, for as long as it is read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pellucid.errors import CheckpointError, SourceError, TransferError
from pellucid.models.checkpoints.refusals import few
from pellucid.models.mlflow_artifacts.addressed import address, tracking
from pellucid.models.mlflow_artifacts.bounds import DEFAULT, Bounds
from pellucid.models.mlflow_artifacts.choosing import NETWORKS, Chooser, Chosen
from pellucid.models.mlflow_artifacts.described import Settings, settings_of
from pellucid.models.mlflow_artifacts.names import InRun, Logged, Name, Registered, parsed
from pellucid.models.mlflow_artifacts.tracking import Files, Stored, Tracking

OWN_NAME = "network"


@dataclass(frozen=True)
class Fetched:
    """A network's file on this machine: ``path``, which is gone afterwards.

    ``uri`` names it for ever, with the version that an alias stands for; ``origin`` is where it is from.
    """

    path: Path
    uri: str
    sha256: str
    settings: Settings
    origin: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Located:
    """The one file of a network among the artifacts of what was asked for. ``folder`` is a private one."""

    asked: Name
    store: Tracking
    stored: Stored
    chosen: Chosen
    files: Files
    folder: Path
    most: int

    @property
    def ending(self) -> str:
        """How the file's name ends, if as a network's does, in lower case."""
        return next((each for each in NETWORKS if self.chosen.path.lower().endswith(each)), "")

    def fetched(self) -> Fetched:
        """Fetch the file. ``SourceError`` or ``TransferError``: it cannot be had."""
        chosen, stored = self.chosen, self.stored
        # Of what the server calls it, only a known ending is in the file's name here.
        path = self.files.fetched(chosen.path, chosen.size, self.folder / f"{OWN_NAME}{self.ending}", self.most)
        is_file = self.asked.path or isinstance(self.asked, InRun)
        return Fetched(
            path,
            f"{stored.uri}/{chosen.path}" if is_file else stored.uri,
            _digest(path),
            settings_of(chosen.description, stored.settings),
            _origin(self.store, stored, chosen),
        )


@contextmanager
def located(uri: str, bounds: Bounds = DEFAULT) -> Iterator[Located]:
    """Find the file of the network that ``models:/…`` or ``runs:/…`` names; what is fetched is gone afterwards.

    Raises:
        SourceError: there is no such model, version, alias, run or file, or several files may be meant.
        TransferError: the server cannot be reached, refuses, or sends more than it should.
    """
    asked = parsed(uri)
    store = tracking(address(isinstance(asked, Registered)), bounds)
    with TemporaryDirectory(prefix="pellucid-", ignore_cleanup_errors=True) as private, _named(private, uri):
        yield _found(asked, store, Path(private), bounds)


def _found(asked: Name, store: Tracking, folder: Path, bounds: Bounds) -> Located:
    stored = _record(asked, store)
    files = store.files(stored.location)
    chooser = Chooser(files, stored.uri, folder, bounds)
    chosen = chooser.chosen(asked.path)
    if chosen is not None:
        return Located(asked, store, stored, chosen, files, folder, bounds.weights)
    models = store.models_of(asked.run_id) if isinstance(asked, InRun) else {}
    logged = _logged(asked, models) if isinstance(asked, InRun) else None
    if logged is None:
        raise chooser.missing(asked.path, models.values() if "/" not in asked.path else ())
    return _found(logged, store, folder, bounds)


def _record(asked: Name, store: Tracking) -> Stored:
    if isinstance(asked, Registered):
        return store.registered(asked)
    return store.logged(asked.model_id) if isinstance(asked, Logged) else store.run(asked.run_id)


def _logged(asked: InRun, models: Mapping[str, str]) -> Logged | None:
    """The model that a run's path names, since MLflow 3 keeps models beside the runs. ``SourceError``: several are."""
    name, _, path = asked.path.partition("/")
    found = [key for key, known in models.items() if not name or known == name]
    if len(found) > 1:
        uris = few([f"models:/{key}" for key in found])
        raise SourceError(f"runs:/{asked.run_id}: {len(found)} models of this run may be meant; name one of {uris}")
    return Logged(found[0], path) if found else None


def _origin(store: Tracking, stored: Stored, chosen: Chosen) -> tuple[tuple[str, str], ...]:
    known = {
        "server": store.shown,
        "model_id": stored.model_id,
        "run_id": stored.run_id,
        "file": chosen.path,
    }
    return tuple((key, value) for key, value in known.items() if value)


@contextmanager
def _named(private: str, uri: str) -> Iterator[None]:
    """Name the model, and not a temporary path, in the messages of whatever reads its file."""
    try:
        yield
    except (CheckpointError, SourceError, TransferError) as error:
        if private not in str(error):
            raise
        named = re.sub(re.escape(private) + r"[/\\][\w.]*", lambda _: uri, str(error))
        raise type(error)(named) from error.__cause__


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
