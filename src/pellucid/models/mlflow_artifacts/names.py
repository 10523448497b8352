"""What ``models:/…`` and ``runs:/…`` name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pellucid.errors import SourceError

MODELS, RUNS = "models", "runs"
NEWEST = "latest"
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")
_LONGEST = 255
_FORMS = f"{MODELS}:/name/3, {MODELS}:/name@alias, {MODELS}:/name/{NEWEST} or {MODELS}:/m-<model id>"


@dataclass(frozen=True)
class Registered:
    """A version of a registered model: by its number, by an alias, or the newest one, of a stage if that is stated."""

    name: str
    version: str | None = None
    alias: str | None = None
    stage: str | None = None
    path: str = ""


@dataclass(frozen=True)
class Logged:
    """A model that was logged, by its identifier."""

    model_id: str
    path: str = ""


@dataclass(frozen=True)
class InRun:
    """An artifact of a run: a file, a folder, or all of them."""

    run_id: str
    path: str = ""


Name = Registered | Logged | InRun


def parsed(uri: str) -> Name:
    """Return what a URI names. ``SourceError``: it is no URI of these forms."""
    prefix, _, rest = uri.partition(":/")
    parts = rest.rstrip("/").split("/")
    if not all(map(is_component, parts)):
        form = _FORMS if prefix == MODELS else f"{RUNS}:/<run id>/path"
        raise SourceError(f"{shown_name(uri)!r} names no model of MLflow; give {form}")
    return _in_run(uri, parts) if prefix == RUNS else _model(uri, parts)


def _in_run(uri: str, parts: list[str]) -> InRun:
    run_id, *path = parts
    if not _RUN_ID.fullmatch(run_id):
        raise SourceError(f"{shown_name(uri)!r} names no run of MLflow; give {RUNS}:/<run id>/path")
    return InRun(run_id, "/".join(path))


def _model(uri: str, parts: list[str]) -> Registered | Logged:
    first, *rest = parts
    name, at, alias = first.rpartition("@")
    if at and is_component(name) and is_component(alias):
        return Registered(name, alias=alias, path="/".join(rest))
    if _MODEL_ID.fullmatch(first):
        return Logged(first, "/".join(rest))
    if at or not rest:
        raise SourceError(f"{shown_name(uri)!r} names no version of a model; give {_FORMS}")
    which, path = rest[0], "/".join(rest[1:])
    if which.isascii() and which.isdigit():
        return Registered(first, version=which, path=path)
    return Registered(first, stage=None if which.lower() == NEWEST else which, path=path)


def is_component(name: object) -> bool:
    """Whether a name is that of one file or folder, and of one line: no path, nothing that leads elsewhere."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= _LONGEST
        and name.isprintable()
        and name not in (".", "..")
        and not set(name) & set("/\\")
    )


def shown_name(text: str) -> str:
    """Text from a user or a server in a message: one line, cut."""
    return " ".join(text[:120].split())
