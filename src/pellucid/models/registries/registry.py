"""``ModelRegistry``: a folder with versions of models, and an index.json that lists them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.settings import ExplanationSettings
from pellucid.errors import DataError, DiskFullError, OptionError, OutputExistsError, WriteError
from pellucid.models.checkpoints.reading import Checkpoint
from pellucid.models.registries import evaluations
from pellucid.models.registries.attaching import additions, check_given, check_settings, with_additions
from pellucid.models.registries.checkpoint import checkpoint_of
from pellucid.models.registries.evaluations import KeptEvaluation, read_evaluation, summary_of
from pellucid.models.registries.fields import kept_of, record_fields
from pellucid.models.registries.index import Index, read_index
from pellucid.models.registries.locking import locked
from pellucid.models.registries.places import file_within
from pellucid.models.registries.publishing import WEIGHTS, check_free, publish, sweep
from pellucid.models.registries.record import PATHS, ModelRecord, kept_in, record, records
from pellucid.models.registries.versions import LATEST, Version, check_key, check_version, order
from pellucid.models.registries.weights import network_of, safetensors_of
from pellucid.models.sources.base import ModelInfo
from pellucid.models.sources.known import model_info
from pellucid.models.sources.weights_file import from_checkpoint

_FULL = (errno.ENOSPC, errno.EDQUOT)


class ModelRegistry:
    """A folder with versions of models: those that trainers wrote, with an index.json, and those that ``save`` adds.

    The index is ``{"schema_version": 1, "models": {key: [records]}}``; a record has a version, an architecture, a
    checkpoint_path within the folder, a config and metrics. No code from any file runs, and no file outside of the
    folder is read or written. The latest version is the one with the highest number: 10 after 9, 1.10.0 after 1.2.0,
    2.0 after 2.0-rc1, whatever their order in the index.

    Nothing is read before it is asked for, and each call reads the index anew.

    >>> import tempfile, pellucid
    >>> registry = pellucid.ModelRegistry(tempfile.mkdtemp())
    >>> model = pellucid.load_model("torchvision:squeezenet1_1", num_classes=3)
    >>> registry.save("chest", model, metrics={"auroc": 0.9}).name
    'chest@1'
    >>> registry.models(), registry.versions("chest")
    (('chest',), (1,))
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        """The folder."""
        return f"ModelRegistry({str(self.root)!r})"

    def models(self) -> tuple[str, ...]:
        """Return the models' keys, sorted. ``SourceError``: there is no such folder."""
        return tuple(sorted(read_index(self.root).models))

    def versions(self, key: str) -> tuple[Version, ...]:
        """Return a model's versions, the latest last. ``SourceError``: there is no such model."""
        return tuple(one.version for one in records(read_index(self.root), key, self.root))

    def record(self, key: str, version: Version = LATEST) -> ModelRecord:
        """Return the record of a version: its architecture, config, metrics and path.

        Raises:
            SourceError: there is no such model or version.
            CheckpointError: the index is broken.
        """
        return record(read_index(self.root), key, version, self.root)

    @on_cpu_by_default
    def load(
        self,
        key: str,
        version: Version = LATEST,
        *,
        spec: str | None = None,
        weights_key: str | None = None,
        activation: str | None = None,
    ) -> nn.Module:
        """Make the model of a version, in eval mode, as ``load_model`` does of a checkpoint.

        ``spec`` is its architecture, for a network of your own as ``path/to/file.py:factory``; None takes the one that
        the record or the file states, or that the weights are recognised as. It is never taken from the registry if it
        names code.

        Raises:
            SourceError: there is no such model or version.
            CheckpointError: the index or the file is broken or unsafe, or the weights do not fit.
        """
        return from_checkpoint(spec, self.checkpoint(key, version, weights_key), None, activation)

    @on_cpu_by_default
    def checkpoint(self, key: str, version: Version = LATEST, weights_key: str | None = None) -> Checkpoint:
        """Read the weights of a version, and what it states. Errors are those of ``load``."""
        return checkpoint_of(self.root, self.record(key, version), weights_key)

    def explanation(self, key: str, version: Version = LATEST) -> ExplanationSettings | None:
        """Return the explanation settings that a version was saved with; None if there were none."""
        return settings_of(self.record(key, version))

    def evaluation(self, key: str, version: Version = LATEST) -> KeptEvaluation | None:
        """Return the evaluation that a version was saved with; None if there was none.

        Raises:
            DataError: its file is missing, or was changed.
        """
        found = self.record(key, version)
        kept = found.kept.get("evaluation")
        if not isinstance(kept, Mapping):
            return None
        path = file_within(self.root, str(kept.get("path")), found.name)
        content = b"" if path is None else read_evaluation(path)
        summary = {} if path is None else summary_of(content, path)
        if path is None or summary["sha256"] != kept.get("sha256"):
            raise DataError(f"{self.root}: the evaluation of {found.name} is missing or was changed: restore its file")
        return KeptEvaluation(path, **summary)

    def save(  # all that a version has, all but the first two by keyword
        self,
        key: str,
        model: nn.Module,
        *,
        version: Version | None = None,
        architecture: str | None = None,
        config: object = None,
        metrics: Mapping[str, Any] | None = None,
        info: ModelInfo | None = None,
        explanation: ExplanationSettings | None = None,
        evaluation: str | os.PathLike[str] | None = None,
    ) -> ModelRecord:
        """Add a version of a model. No version is ever replaced, and two writers lose nothing.

        Args:
            key: the model's name, which becomes a folder.
            model: the network; torch's wrappers and a LightningModule of one network are left out.
            version: None takes the next whole number.
            architecture: a specification of torchvision, timm or MONAI; None takes what ``load_model`` made, or the
                name of the class.
            config: the training's settings: mappings, sequences, dataclasses, numbers and texts.
            metrics: figures by name; one that is not finite is kept as null.
            info: class names, head and preprocessing; None takes ``model_info(model)``.
            explanation: how maps of this version are made.
            evaluation: the scores.json of `pellucid evaluate` for this version, or its folder; it is copied.

        Raises:
            OptionError: a name is no name of a folder, or a setting has no form in JSON.
            OutputExistsError: the version is there already.
            CheckpointError: the model has no weights, or the index is broken.
            DataError: the evaluation is no scores.json.
            WriteError, DiskFullError: the system refuses to write; nothing was changed then.
        """
        network, place = network_of(model), check_key(key)
        files = {WEIGHTS: safetensors_of(network)}
        if evaluation is not None:
            files[evaluations.NAME] = read_evaluation(evaluation)
        check_settings(explanation)
        kept = kept_of(network, info or model_info(network), files, explanation)
        made = record_fields(network, info or model_info(network), architecture, config, metrics)
        with _errors_of(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with self._writing() as index:
                number = _new_version(index, key, version, self.root)
                check_free(self.root / place / str(number))
                made |= _placed(place, number, kept, files)
                known = [*index.models.get(key, ()), made]
                publish(self.root, (place, str(number)), files, _with_records(index, key, known))
        return self.record(key, number)

    def attach(
        self,
        key: str,
        version: Version = LATEST,
        *,
        explanation: ExplanationSettings | None = None,
        evaluation: str | os.PathLike[str] | None = None,
    ) -> ModelRecord:
        """Add explanation settings or an evaluation to a version that is there, also to one that a trainer wrote.

        Its weights and all else that is kept of it stay as they are. What it has already is left, if it is equal.

        Raises:
            SourceError: there is no such model or version.
            OutputExistsError: it has other settings, or another evaluation; nothing is ever replaced.
            OptionError: nothing is given, or the version's name is no name of a folder.
            DataError: the evaluation is no scores.json.
            CheckpointError: the index is broken.
            WriteError, DiskFullError: the system refuses to write; nothing was changed then.
        """
        check_given(explanation, evaluation)
        content = None if evaluation is None else read_evaluation(evaluation)
        self.record(key, version)  # before a lock is made in a folder that is no registry
        with _errors_of(self.root), self._writing() as index:
            found = record(index, key, version, self.root)
            made = additions(found, explanation, content, self.root)
            if made:
                files = {evaluations.NAME: content} if content is not None and "evaluation" in made else {}
                known = with_additions(index.models[key], found, made, self.root)
                publish(self.root, (key, str(found.version)), files, _with_records(index, key, known))
        return self.record(key, found.version)

    @contextmanager
    def _writing(self) -> Iterator[Index]:
        """Hold the lock; the index is that of now, and what killed writers left is undone."""
        with locked(self.root):
            index = read_index(self.root)
            sweep(self.root, _listed(index))
            yield index


def settings_of(found: ModelRecord) -> ExplanationSettings | None:
    """Return the explanation settings of a record. ``CheckpointError``: they cannot be read."""
    kept = found.kept.get("explanation")
    return None if kept is None else ExplanationSettings.from_json(kept)


@contextmanager
def _errors_of(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else WriteError
        raise kind(f"{root}: cannot be written to ({error.strerror or error}): make room, or allow it") from None


def _listed(index: Index) -> frozenset[str]:
    """The places of the files in an index, as they stand there."""
    each = [raw for models in index.models.values() for raw in models if isinstance(raw, Mapping)]
    evaluated = [kept_in(raw).get("evaluation") for raw in each]
    paths = [raw.get(name) for raw in each for name in PATHS]
    paths += [one.get("path") for one in evaluated if isinstance(one, Mapping)]
    return frozenset(str(path).replace("\\", "/") for path in paths)


def _new_version(index: Index, key: str, asked: Version | None, root: Path) -> Version:
    """Return the version of a new record.

    Raises:
        OutputExistsError: the one that was asked for is there already.
        OptionError: the model has versions of the other kind, or another model's name differs only by capitals.
    """
    other = next((name for name in index.models if name != key and name.lower() == key.lower()), None)
    if other is not None:
        raise OptionError(
            f"the model's key {key!r} was given; {root} has {other!r}: give a key that differs in letters"
        )
    known = [one.version for one in records(index, key, root)] if key in index.models else []
    of_text = [one for one in known if isinstance(one, str)]
    if asked is None and of_text:
        raise OptionError(f"no version was given; those of {key!r} are texts such as {of_text[-1]!r}: give version=")
    if asked is None:
        return 1 + max((one for one in known if isinstance(one, int)), default=0)
    found = check_version(asked)
    if any(order(one) == order(found) for one in known):
        raise OutputExistsError(
            f"{root}: version {found} of {key!r} is already there, and is not replaced: give another version=, or None "
            "for the next"
        )
    if known and isinstance(found, str) != bool(of_text):
        raise OptionError(f"version={found!r} was given; those of {key!r} are such as {known[-1]!r}: give one like it")
    return found


def _placed(key: str, version: Version, kept: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The fields of a record that depend on its version."""
    folder = f"{key}/{version}"
    if evaluations.NAME in files:
        kept = {**kept, "evaluation": {**kept["evaluation"], "path": f"{folder}/{evaluations.NAME}"}}
    return {
        "model_key": key,
        "version": version,
        "checkpoint_path": f"{folder}/{WEIGHTS}",
        "extra_state": {"pellucid": dict(kept)},
    }


def _with_records(index: Index, key: str, known: list[Any]) -> dict[str, Any]:
    """The content of an index in which these are a model's records; all else stays as it was."""
    models = {**index.models, key: known}
    if index.models is index.content:
        return models
    return {**index.content, "models": models, "updated_at": datetime.now(UTC).isoformat()}
