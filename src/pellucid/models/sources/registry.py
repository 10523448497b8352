"""``registry:FOLDER/KEY@VERSION``: a version of a model in a folder registry, the latest if none is named."""

from __future__ import annotations

import re

from torch import nn

from pellucid.errors import SourceError
from pellucid.models.checkpoints import Checkpoint
from pellucid.models.registries import ModelRegistry
from pellucid.models.registries.checkpoint import spec_of
from pellucid.models.registries.index import NAME
from pellucid.models.registries.registry import settings_of
from pellucid.models.registries.versions import LATEST
from pellucid.models.sources.base import ModelInfo, ModelRequest
from pellucid.models.sources.known import known_of
from pellucid.models.sources.loading import load_model
from pellucid.models.sources.settings import KeptSettings

_PARTS = re.compile(r"(?P<root>.*)[/\\](?P<model>[^/\\]+)", re.DOTALL)


class RegistrySource:
    """The models of a folder registry; the architecture is the record's or the file's, or is recognised."""

    prefix = "registry"
    brings_weights = True

    def checkpoint(self, name: str, key: str | None) -> Checkpoint:
        """Read the weights of ``FOLDER/KEY[@VERSION]``; folders are separated by slashes of either kind.

        Raises:
            SourceError: no such registry, model or version.
            CheckpointError: the index or the file is missing, broken or unsafe.
        """
        registry, model, version = _parsed(name)
        return registry.checkpoint(model, version, key)

    def kept_settings(self, name: str) -> KeptSettings | None:
        """Return the explanation settings of a version; errors are those of ``ModelRegistry.explanation``."""
        registry, model, version = _parsed(name)
        record = registry.record(model, version)
        settings = settings_of(record)
        return None if settings is None else KeptSettings(spec_of(registry.root, record), settings)

    def outline(self, request: ModelRequest) -> nn.Module:
        """Refuse: there is nothing to load weights into."""
        raise SourceError(f"registry:{request.name}: a registry's model has its weights; leave out the checkpoint")

    def build(self, request: ModelRequest) -> nn.Module:
        """Load the model. Errors are those of ``load_model``."""
        return load_model(f"{self.prefix}:{request.name}", num_classes=request.num_classes)

    def info(self, _request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return what loading it found."""
        return known_of(model)


def _parsed(name: str) -> tuple[ModelRegistry, str, str]:
    """Return the registry, model and version that a specification names."""
    matched = _PARTS.fullmatch(name)
    if matched is None or "\0" in name:
        raise SourceError(f"registry:{name!r:.200} names no model of a folder; give registry:FOLDER/KEY@VERSION")
    registry = ModelRegistry(matched["root"] or "/")
    model, at, version = matched["model"].rpartition("@")
    if not at or not version:
        model, version = matched["model"].rstrip("@"), LATEST
    if (registry.root / model / NAME).is_file() and not (registry.root / NAME).is_file():
        raise SourceError(f"registry:{name} names a registry; add one of its models: registry:{name}/KEY@VERSION")
    return registry, model, version


SOURCE = RegistrySource()
