"""The fields of a record, as the published trainer names them: its own reader refuses any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from pellucid.core.provenance import versions
from pellucid.core.settings import ExplanationSettings
from pellucid.errors import OptionError
from pellucid.models.registries import evaluations
from pellucid.models.registries.activation import activation_of
from pellucid.models.registries.evaluations import summary_of
from pellucid.models.registries.facts import preprocessing_json
from pellucid.models.registries.plain import plain
from pellucid.models.registries.publishing import WEIGHTS
from pellucid.models.sources.base import ModelInfo


def record_fields(
    network: nn.Module, info: ModelInfo, architecture: str | None, config: object, metrics: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the fields that do not depend on the version. ``OptionError``: one has no form in JSON."""
    settings = plain(config, "config")
    if not isinstance(settings, dict | None):
        raise OptionError(f"config must be a mapping or a dataclass, got {type(config).__name__}")
    return {
        "model_key": None,
        "version": None,
        "architecture": architecture or architecture_of(network, info),
        "checkpoint_path": None,
        "tag": None,
        "created_at": datetime.now(UTC).isoformat(),
        "config": settings,
        "metrics": plain(metrics, "metrics"),
        "model_info": None,
        "epoch": None,
        "step": None,
        "extra_state": None,
    }


def architecture_of(network: nn.Module, info: ModelInfo) -> str:
    """Return what a network is called: a specification where one is known, else the name of its class."""
    if info.spec is not None:
        return info.spec
    timm = getattr(network, "pretrained_cfg", None)
    name = timm.get("architecture") if isinstance(timm, Mapping) else None
    return f"timm:{name}" if isinstance(name, str) else type(network).__name__


def kept_of(
    network: nn.Module, info: ModelInfo, files: Mapping[str, bytes], explanation: ExplanationSettings | None
) -> dict[str, Any]:
    """Return what pellucid keeps beside a version; what is not known is left out."""
    summary = summary_of(files[evaluations.NAME], Path(evaluations.NAME)) if evaluations.NAME in files else None
    kept = {
        "saved_by": versions().get("pellucid"),
        "sha256": hashlib.sha256(files[WEIGHTS]).hexdigest(),
        "activation": activation_of(network),
        "classes": None if info.classes is None else list(info.classes),
        "head": info.head,
        "preprocessing": None if info.preprocessing is None else preprocessing_json(info.preprocessing),
        "assumed": list(info.assumed) or None,
        "explanation": None if explanation is None else explanation.to_json(),
        "evaluation": summary,
    }
    return {name: value for name, value in kept.items() if value is not None}
