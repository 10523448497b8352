"""MLflow's YAML files, which hold plain values only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import SourceError, message_of
from pellucid.models.sources.base import package

_MERGE = "<<"
"""Merges of mappings make exponentially large ones from a few lines; MLflow writes none."""


def mapping_in(path: Path, most: int) -> Mapping[str, Any]:
    """Return the mapping in a file. ``SourceError``: it is broken, holds something else, or is larger than ``most``."""
    yaml = package("yaml", f"a model of MLflow ({path.name})", "track")
    if path.stat().st_size > most:
        raise SourceError(f"{path}: larger than {most:,} bytes, which no record of MLflow is")
    try:
        text = path.read_text("utf-8")
        found = None if _MERGE in text else yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except Exception as error:  # those of YAML, of text, and of values such as dates
        raise SourceError(f"{path}: it is broken ({message_of(error)}); log the model again") from None
    if not isinstance(found, Mapping):
        raise SourceError(f"{path}: a mapping of names to values was expected; log the model again")
    return found
