"""Registries of models: folders with an index.json that lists versions of models, and their weights files."""

from pellucid.models.registries.registry import ModelRegistry
from pellucid.models.registries.settings import ExplanationSettings

__all__ = ["ExplanationSettings", "ModelRegistry"]
