"""Registries of models: folders with an index.json that lists versions of models, and their weights files."""

from pellucid.core.settings import ExplanationSettings
from pellucid.models.registries.registry import ModelRegistry

__all__ = ["ExplanationSettings", "ModelRegistry"]
