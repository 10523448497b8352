"""How the maps of a model are made, where a registry keeps that beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pellucid.core.settings import ExplanationSettings
from pellucid.models.sources.base import sources


@dataclass(frozen=True)
class KeptSettings:
    """The settings of one version of a model; ``spec`` names that version for ever."""

    spec: str
    settings: ExplanationSettings


@runtime_checkable
class Settled(Protocol):
    """A source that keeps explanation settings beside its models."""

    def kept_settings(self, name: str, /) -> KeptSettings | None:
        """Return those of a model; None where there are none.

        Raises:
            SourceError: no such model.
            CheckpointError: they cannot be read.
        """
        ...


def kept_settings(given: str) -> KeptSettings | None:
    """Return the settings that are kept for a model or checkpoint, by its specification; errors as of ``Settled``."""
    prefix, _, name = given.partition(":")
    source = sources().get(prefix) if name else None
    return source.kept_settings(name) if isinstance(source, Settled) else None
