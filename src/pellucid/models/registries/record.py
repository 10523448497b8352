"""A record of a registry's index: one version of a model, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import CheckpointError, SourceError, did_you_mean, warn
from pellucid.models.checkpoints.refusals import few, words
from pellucid.models.registries.index import Index
from pellucid.models.registries.versions import LATEST, Version, is_version, order

PATHS = ("checkpoint_path", "path")
"""The fields that name the weights file, in this order."""
OWN = "pellucid"
"""The entry of ``extra_state`` with what pellucid keeps: other readers of the index refuse fields of their own kind."""


@dataclass(frozen=True, eq=False)
class ModelRecord:
    """One version of a model. ``path`` is that of its weights file as the index states it, None where it does not.

    ``kept`` is what pellucid keeps beside it; ``fields`` are all of the record's, as they stand in the index.
    """

    key: str
    version: Version
    path: str | None
    architecture: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in messages: ``chest@2``."""
        return f"{words(self.key)}@{words(str(self.version))}"


def records(index: Index, key: str, where: object) -> list[ModelRecord]:
    """Return a model's records, the latest last.

    Raises:
        SourceError: there is no such model.
    """
    if key not in index.models:
        known = list(map(words, index.models))
        there = f"; it has {few(known)}" if known else ", and no other"
        raise SourceError(
            f"model {words(key)!r} was asked for; {where} has none{there}{did_you_mean(key, known[:100])}"
        )
    found = [_read(key, raw) for raw in index.models[key]]
    return sorted((one for one in found if one is not None), key=lambda one: order(one.version))


def record(index: Index, key: str, version: object, where: object) -> ModelRecord:
    """Return the record of a version.

    Raises:
        SourceError: there is no such model or version.
        CheckpointError: the index has the version twice.
    """
    known = records(index, key, where)
    if version in (None, LATEST) and known:
        return record(index, key, known[-1].version, where)
    found = [one for one in known if str(one.version) == str(version)]
    found = found or [one for one in known if is_version(version) and order(one.version) == order(str(version))]
    if len(found) > 1:
        raise CheckpointError(f"{where}: {found[0].name} is in index.json {len(found)} times: remove all but one")
    if not found:
        there = few([words(str(one.version)) for one in reversed(known)], 10) or "no version"
        raise SourceError(
            f"version {words(str(version))} of {words(key)!r} was asked for; {where} has {there}: give one of its "
            "versions, or 'latest'"
        )
    return found[0]


def _read(key: str, raw: Any) -> ModelRecord | None:
    """Read a record; None, with a warning, of one without a version: it cannot be named."""
    if not isinstance(raw, Mapping) or not is_version(raw.get("version")):
        warn(f"a record of {words(key)!r} in index.json has no version, and is left out: correct it")
        return None
    architecture = raw.get("architecture")
    return ModelRecord(
        key,
        raw["version"],
        next((raw[name] for name in PATHS if isinstance(raw.get(name), str) and raw[name]), None),
        architecture if isinstance(architecture, str) else None,
        _mapping(raw, "config"),
        _mapping(raw, "metrics"),
        kept_in(raw),
        raw,
    )


def kept_in(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """What pellucid keeps in a record as it stands in the index."""
    return _mapping(_mapping(raw, "extra_state"), OWN)


def _mapping(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) else {}


def texts(value: Any, most: int) -> Sequence[str]:
    """The texts of a list that a record states; none of anything else."""
    is_list = isinstance(value, list) and 0 < len(value) <= most
    return value if is_list and all(isinstance(one, str) for one in value) else ()
