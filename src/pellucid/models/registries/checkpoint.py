"""A record's weights file as a checkpoint: what the file states, then what the record does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.heads import ACTIVATIONS
from pellucid.models.checkpoints.layouts import architectures, find_state
from pellucid.models.checkpoints.reading import Checkpoint, check_file, read_content
from pellucid.models.checkpoints.refusals import SHARDS, words
from pellucid.models.checkpoints.stated import stated_in
from pellucid.models.checkpoints.stated_classes import classes_in
from pellucid.models.checkpoints.stated_head import find_head
from pellucid.models.registries.facts import classes_of_record, head_of_record, preprocessing_of
from pellucid.models.registries.index import NAME
from pellucid.models.registries.places import weights_file
from pellucid.models.registries.record import ModelRecord, texts
from pellucid.models.registries.versions import is_version, order

_ASSUMED = 10


def checkpoint_of(root: Path, record: ModelRecord, key: str | None = None) -> Checkpoint:
    """Read the weights of a record, and what it and its file state; no code from either runs.

    Files beside the weights, which may be outside of the registry, are not read. ``key`` as in ``read_checkpoint``.

    Raises:
        CheckpointError: the file is missing, broken, unsafe, changed, another version's, or holds no weights.
    """
    path = weights_file(root, record)
    check_file(path)
    if path.name.endswith(SHARDS):
        raise CheckpointError(
            f"{path}: one weights file was expected, got a list of several: save {record.name} as one"
        )
    _check_digest(path, record)
    content = read_content(path)
    _check_name(path, content, record)
    state = find_state(content, path, key)
    rank = 3 if any(tensor.ndim == 5 for tensor in state.values()) else 2
    own = {"architecture": record.architecture, "config": record.config}
    kept = record.kept
    classes = classes_of_record(kept.get("classes"))
    names = [*architectures(content), *architectures(own)]
    return Checkpoint(
        state,
        next(iter(names), None),
        path,
        stated_in(((content, path.name), (own, NAME)), rank),
        head_of_record(kept.get("head")) or find_head(content) or find_head(own),
        frozenset({classes}) if classes else classes_in(content) or classes_in(own),
        tuple(names[1:]),
        preprocessing_of(kept.get("preprocessing")),
        tuple(texts(kept.get("assumed"), _ASSUMED)),
        _activation(kept.get("activation")),
        spec_of(root, record),
    )


def spec_of(root: Path, record: ModelRecord) -> str:
    """Return what names a version wherever a model is named."""
    return f"registry:{root}/{record.key}@{record.version}"


def _activation(found: Any) -> str | None:
    """Return the activation that a record keeps; None of anything else."""
    return found if isinstance(found, str) and found in ACTIVATIONS else None


def _check_digest(path: Path, record: ModelRecord) -> None:
    """Raise for a file that is not the one that was saved."""
    known = record.kept.get("sha256")
    if known is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != known:
        raise CheckpointError(f"{path}: {record.name} was saved with other bytes (SHA-256): restore the file")


def _check_name(path: Path, content: Any, record: ModelRecord) -> None:
    """Raise for a file that states that it is of another model or version."""
    stated = content if isinstance(content, Mapping) else {}
    key, version = stated.get("model_key"), stated.get("version")
    other_version = is_version(version) and order(version) != order(record.version)
    if isinstance(key, str) and (key != record.key or other_version):
        raise CheckpointError(
            f"{path}: the file of {record.name} states that it is {words(key)}@{words(str(version))}: correct "
            "checkpoint_path in index.json"
        )
