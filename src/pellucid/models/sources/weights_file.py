"""``from_checkpoint``: the model of a weights file, of the architecture that is named, stated or recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from pellucid.errors import CheckpointError, OptionError, SourceError, warn
from pellucid.models.checkpoints import (
    Checkpoint,
    Match,
    Names,
    chosen,
    classes_of,
    describe,
    load_into,
    matches,
    recognise,
)
from pellucid.models.checkpoints.names import unprefixed, unwrapped
from pellucid.models.checkpoints.pooling import ConcatPool, in_a_row
from pellucid.models.checkpoints.recognition import but_for_the_head
from pellucid.models.checkpoints.reference import AUXILIARY
from pellucid.models.checkpoints.untrained import warn_of_untrained
from pellucid.models.preprocessing import takes_volumes
from pellucid.models.sources.assumed import with_stated
from pellucid.models.sources.base import ModelInfo, ModelRequest, Naming, PathSource, Source, Stating, seeded
from pellucid.models.sources.finding import find
from pellucid.models.sources.known import know, known_of, remember, state_preprocessing


def from_checkpoint(
    spec: str | None, checkpoint: Checkpoint, num_classes: int | None, activation: str | None
) -> nn.Module:
    """Make the model of a weights file, of the architecture ``spec``; None: the stated or recognised one.

    ``CheckpointError``: the weights do not fit. ``OptionError``: ``num_classes`` are not as many as it has.
    """
    spec = spec or _architecture(checkpoint)
    source, name = find(spec)
    match = _fitted(source, name, spec, checkpoint.state)
    if activation is None and match.head is not None and match.head.activations:
        activation = checkpoint.activation
    match = match.activated(activation)
    if num_classes not in (None, match.num_classes):
        raise OptionError(
            f"num_classes={num_classes} was asked for, {checkpoint.path} has {match.num_classes}; leave it out"
        )
    auxiliary = any(key.startswith(AUXILIARY) for key in match.state)
    request = ModelRequest(name, False, match.num_classes, match.in_channels, auxiliary)
    model, made = _built(source, request, match)
    load_into(model, match.state, checkpoint.path)
    for note in match.warnings:
        warn(f"{checkpoint.path}: {note}")
    warn_of_untrained(str(checkpoint.path), match.state, "check that this is the trained network's file")
    known = ModelInfo(spec, checkpoint_sha256=checkpoint.sha256 or _digest(checkpoint.path), weights="checkpoint")
    remember(model, source, request, known, made)
    _remember_stated(model, source, checkpoint, match)
    return model


def _built(source: Source, request: ModelRequest, match: Match) -> tuple[nn.Module, nn.Module]:
    """The network with the head and the pooling of the weights, and the source's own that it was made of."""
    with seeded():
        model = made = source.build(request)
    if match.row:
        model = in_a_row(made)
    if match.head is not None:
        model.set_submodule(match.target, match.head.built())
    if match.pool:
        model.set_submodule(match.pool, ConcatPool())
    return model, made


def _remember_stated(model: nn.Module, source: Source, checkpoint: Checkpoint, match: Match) -> None:
    """Keep what the file states of its network, where the source does not state it of its own."""
    info = replace(known_of(model), registered=checkpoint.registered, origin=checkpoint.origin)
    stated = classes_of(checkpoint.classes, match.num_classes)
    named = info.classes if isinstance(source, Stating) else None  # else those of the source's own weights
    info = replace(info, head=info.head or checkpoint.head, classes=named or stated or info.classes)
    know(model, info)
    if info.preprocessing is not None and isinstance(source, Stating):
        return
    if checkpoint.prepared is not None:
        state_preprocessing(model, checkpoint.prepared, checkpoint.assumed)
    else:
        channels = match.in_channels or (info.preprocessing.channels if info.preprocessing else 3)
        know(model, with_stated(info, checkpoint.preprocessing, channels, takes_volumes(model)))


def _fitted(source: Source, name: str, spec: str, state: dict[str, Tensor]) -> Match:
    """Return the weights by the names of an architecture; if they do not fit, as many as have them.

    A head of other layers takes the place of a library's, never that of the user's own network.
    """
    outline = source.outline(ModelRequest(name))
    reference = describe(spec, outline)
    variants = [state, unwrapped(state)]
    if isinstance(source, Naming):
        variants = [source.named(variant, outline) for variant in (state, unprefixed(state), *variants[1:])]
    own = isinstance(source, PathSource)
    headless: list[CheckpointError] = []
    for names in map(Names, variants):
        found = [match for match in matches(reference, names) if not (own and (match.head or match.problem))]
        if complete := [match for match in found if not match.problem]:
            return chosen(complete)
        headless += [but_for_the_head(match, names) for match in found[:1]]
    if headless:
        raise headless[0]
    return Match(reference, "", Names(variants[0]).closest(reference))


def _architecture(checkpoint: Checkpoint) -> str:
    """Return the specification of the architecture that a file states, or that its weights are recognised as."""
    try:
        return _stated(checkpoint) or recognise(checkpoint.state).spec
    except CheckpointError as error:
        if checkpoint.registered is None:
            raise
        message = f"{checkpoint.registered}: {error}, with checkpoint={str(checkpoint.path)!r}"
        raise CheckpointError(message, error.candidates) from None


def _stated(checkpoint: Checkpoint) -> str | None:
    """Return the specification of the architecture that a file states, if the weights fit it."""
    names = [name for name in (checkpoint.architecture, *checkpoint.others) if name]
    return next((spec for name in names for spec in _specs(name) if _fits(spec, checkpoint.state)), None)


def _specs(stated: str) -> Sequence[str]:
    # Only names of these libraries, never a path: a weights file must not choose code to run.
    bare = stated.isidentifier() or stated.replace(".", "_").replace("-", "_").isidentifier()
    prefix, _, name = stated.partition(":")
    if prefix in ("torchvision", "timm", "monai") and name:
        return [stated]
    return [f"torchvision:{stated}", f"timm:{stated}"] if bare and not stated.endswith(".py") else []


def _fits(spec: str, state: dict[str, Tensor]) -> bool:
    source, name = find(spec)
    try:
        reference = describe(spec, source.outline(ModelRequest(name)))
    except SourceError:
        return False
    names = (Names(variant) for variant in (state, unwrapped(state)))
    return any(not match.problem for each in names for match in matches(reference, each))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
