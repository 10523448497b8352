"""The source of a model, by its specification."""

from __future__ import annotations

from pathlib import Path

from pellucid.errors import SourceError, warn
from pellucid.models.sources.base import (
    PathSource,
    Source,
    failures_of,
    sources,
)


def find(spec: str) -> tuple[Source, str]:
    """Return the source of a specification, and the model's name there. ``SourceError``: there is none."""
    known = sources()
    prefix, _, name = spec.partition(":")
    by_prefix = known.get(prefix) if name else None
    by_path = next((one for one in known.values() if isinstance(one, PathSource) and one.takes_path(spec)), None)
    for failure in failures_of(prefix, is_known=by_prefix is not None or by_path is not None):
        warn(failure)
    if by_prefix is not None:
        return by_prefix, name
    if by_path is not None:
        return by_path, spec
    if Path(spec).is_file():
        raise SourceError(f"{spec!r} is a file, and names no model: give it as checkpoint={spec!r} if it holds weights")
    raise SourceError(f"{spec!r} names no model; give one of {', '.join(forms())}")


def forms() -> list[str]:
    """How the sources' models are named: ``timm:…`` for a prefix, then the paths."""
    known = sources()
    paths = {prefix: source.path_form for prefix, source in known.items() if isinstance(source, PathSource)}
    return [*(f"{prefix}:…" for prefix in sorted(known.keys() - paths.keys())), *sorted(paths.values())]
