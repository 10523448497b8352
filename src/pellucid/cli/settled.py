"""What a command does not name, taken from the explanation settings that belong to a version of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.cli.asked import FUSE, HEAD, TARGET, Request, Taken
from pellucid.core.settings import ExplanationSettings
from pellucid.models.sources.settings import kept_settings


def with_kept(request: Request) -> Request:
    """Return a request in which the settings that are kept with its model stand for what it does not name.

    A method that is named takes none of another method's options, layers and fusion. The version that ``latest`` stands
    for is named, so that settings and weights are of the same.

    Raises:
        SourceError: no such model.
        CheckpointError: the settings cannot be read.
    """
    given = str(request.checkpoint) if request.checkpoint is not None else request.model
    kept = kept_settings(given) if given is not None else None
    if kept is None:
        return request
    pinned: dict[str, Any] = {"model": kept.spec} if request.checkpoint is None else {"checkpoint": Path(kept.spec)}
    found = _of_method(request, kept.settings) | _of_question(request, kept.settings)
    taken = Taken(kept.spec, tuple(found)) if found else None
    return replace(request, **pinned, **found, taken=taken)


def _of_method(request: Request, kept: ExplanationSettings) -> dict[str, Any]:
    """The method, its options, layers and fusion, as far as they are not named."""
    if request.choice is not None or (request.methods and list(request.methods) != [kept.method]):
        return {}
    named = {option.partition("=")[0] for option in request.options}
    options = [f"{key}={value}" for key, value in kept.options.items() if key not in named]
    found: dict[str, Any] = {} if request.methods else {"methods": [kept.method]}
    found |= {"options": [*options, *request.options]} if options else {}
    found |= {"layers": list(kept.layers)} if kept.layers and request.layers is None else {}
    return found | ({"fuse": kept.fuse} if request.fuse is None and kept.fuse != FUSE else {})


def _of_question(request: Request, kept: ExplanationSettings) -> dict[str, Any]:
    """The target and the head, as far as they are not named."""
    found: dict[str, Any] = {"targets": [str(kept.target)]} if not request.targets and kept.target != TARGET else {}
    return found | ({"head": kept.head} if request.head is None and kept.head != HEAD else {})
