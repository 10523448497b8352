"""The key of a request: digests of the model, and of all options that change what is written."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pellucid.core import catalogue
from pellucid.core.provenance import architecture, digest, versions
from pellucid.core.runtime import AUTO
from pellucid.export.earlier import Key
from pellucid.io.refusal import digest as file_digest
from pellucid.models.session.placement import device_of
from pellucid.models.sources import model_info
from pellucid.run.chosen import meant
from pellucid.run.tuned import resolved

if TYPE_CHECKING:
    from pellucid.run.job import Job

DEIDENTIFY = "--deidentify"
"""The option whose digest, in results without identity, only those with the same key can make."""


def request_key(job: Job) -> Key:
    """The key that all sets of a job share, without an input.

    The batch size is no part of it: it changes results by rounding at most, and lowering it helps against a lack of
    memory, after which a run should go on.
    """
    known = versions()
    version = f"{known['pellucid']}, torch {known['torch']}"
    options = _options(job)
    each = {name: _sha256(option) for name, option in options.items()}
    return Key("", _sha256(_model(job.model, job.results.facts)), _sha256(options), version, each)


def _model(model: nn.Module, facts: Mapping[str, Any]) -> dict[str, Any]:
    info = model_info(model)
    return {
        "weights": facts.get("weights_sha256") or digest(model),
        "architecture": architecture(model),
        "file": _file(info.spec),
        "stated": [info.classes, info.head, info.output],
    }


def _file(spec: str | None) -> str | None:
    """The digest of the file that a model's specification names, such as path/to/file.py:factory."""
    path = next((Path(part) for part in _parts(spec or "") if part and Path(part).is_file()), None)
    return None if path is None else file_digest(path)


def _parts(spec: str) -> Sequence[str]:
    without_prefix = spec.partition(":")[2]
    return spec, spec.rpartition(":")[0], without_prefix, without_prefix.rpartition(":")[0]


def _options(job: Job) -> dict[str, Any]:
    """What the user chooses, by the words for it in a message."""
    results = job.results
    runtimes = [resolved(job.model, method, job.runtime) for method in job.methods]
    plain = [replace(runtime, batch_size=1, seed=0, device="auto", keep_memory=False) for runtime, _ in runtimes]
    return {
        "--method": [method.name for method in job.methods],
        "--set": [[method.name, catalogue.settings(method)] for method in job.methods],
        "--target": job.targets,
        "--layer": job.layers,
        "--choice": _by_choice(job),
        "--fuse": job.fuse,
        "--check": job.checks,
        "--classes": job.classes,
        "--head": job.head,
        "preprocessing": job.preprocessing,
        "--window": job.window,
        "--frame": job.frame,
        "--select": job.select,
        "--device": str(device_of(job.model, job.runtime)),
        "--precision": [[runtime, trial] for runtime, (_, trial) in zip(plain, runtimes, strict=True)],
        "seed": job.runtime.seed,
        "--export": results.formats,
        "--alpha": results.style.alpha,
        "--colormap": results.style.colormap,
        "--signed": results.style.signed,
        "--keep-identity": results.keep_identity,
        DEIDENTIFY: results.deidentifier is not None,
        "--allow-seg-without-geometry": results.allow_seg_without_geometry,
    }


def _by_choice(job: Job) -> list[list[Any]]:
    """The methods whose layers are those of a choice, with these."""
    chosen_ones = [method for method in job.methods if method.name in job.by_choice]
    found = [meant(job.model, method, AUTO, job.choice) for method in chosen_ones]
    return [[method.name, one.layers, one.why] for method, one in zip(chosen_ones, found, strict=True)]


def _sha256(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, default=_plain, sort_keys=True).encode()).hexdigest()


def _plain(value: object) -> object:
    """What JSON can hold of a value; of a callable, whose code may change, something that no other request has."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Tensor):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, Sequence):
        return list(value)
    return secrets.token_hex()


IDENTIFIED = _sha256(False)
"""The digest of that option in all other results."""
