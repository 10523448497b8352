"""What "auto" stands for: the method and layers that ``pellucid.choose`` chose for these weights, or the convention."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from torch import nn

from pellucid.core import catalogue
from pellucid.core.choice import Choice, GradedPair
from pellucid.core.method import Method
from pellucid.core.runtime import AUTO
from pellucid.errors import DataError, OptionError
from pellucid.export.writing import write
from pellucid.run.weights import digest_of

_DIGEST = re.compile("[0-9a-f]{64}")
CONVENTION = "gradcam"
"""The method where nothing was measured; at the layers that are found."""


@dataclass(frozen=True)
class Chosen:
    """A method and layers that were chosen; ``layers`` None are those that are found. ``why`` is a sentence."""

    method: str | Method
    layers: Sequence[str] | None
    why: str


def chosen(
    model: nn.Module, method: str | Method, layers: Sequence[str] | str | None, choice: Choice | None
) -> Chosen | None:
    """What a call with "auto" as its method or layers asks for; None where neither is.

    Layers that are named stay. A method that is named gets, by ``layers="auto"``, those at which its grade is best.

    Raises:
        OptionError: a choice was given without "auto", or is of another network's weights.
    """
    if AUTO in (method, layers):
        return meant(model, method, layers, choice)
    if choice is not None:
        raise OptionError('a choice was given; it is used with method="auto" or layers="auto": give one')
    return None


def meant(model: nn.Module, method: str | Method, layers: Sequence[str] | str | None, choice: Choice | None) -> Chosen:
    """The same of a call that has "auto". ``OptionError``: as of ``chosen``."""
    known = _known(model, choice)
    pair = None if known is None else _asked(known, method)
    if known is None or pair is None:
        named = None if layers == AUTO else layers
        return Chosen(CONVENTION if method == AUTO else method, named, _without(known, method))
    return Chosen(
        _method_of(pair) if method == AUTO else method,
        (pair.layers or None) if layers in (None, AUTO) else layers,
        _why(pair, known, layers),
    )


def _why(pair: GradedPair, choice: Choice, layers: Sequence[str] | str | None) -> str:
    if layers not in (None, AUTO):
        return f"{pair.method} was chosen by measurement on {choice.images} images; its layers were named"
    return f"{pair} was chosen by measurement on {choice.images} images: its grade is {pair.grade:.2f}"


def keep(choice: Choice) -> Path:
    """Keep a choice for "auto", for networks with its weights.

    Raises:
        DataError: it states no digest of weights.
        WriteError: the system refuses to write.
    """
    if not _DIGEST.fullmatch(choice.weights_sha256):
        raise DataError(f"the choice states weights_sha256={choice.weights_sha256[:20]!r}, which is no digest")
    path = _file(choice.weights_sha256)
    write(path.parent, {path.name: choice.to_json().encode()}, overwrite=True)
    return path


def kept_for(model: nn.Module) -> Choice | None:
    """The choice that is kept for a network's weights; None where there is none."""
    path = _file(digest_of(model))
    with suppress(DataError):  # a broken file counts as none
        found = Choice.load(path) if path.is_file() else None
        return found if found is None or found.weights_sha256 == path.stem else None
    return None


def _known(model: nn.Module, choice: Choice | None) -> Choice | None:
    if choice is None:
        return kept_for(model)
    if not isinstance(choice, Choice):
        raise OptionError(f"choice must be a pellucid.Choice, got {type(choice).__name__}: load a file by Choice.load")
    if choice.weights_sha256 != digest_of(model):
        raise OptionError("a choice was given; it was measured on other weights than the model's: choose anew")
    return choice


def _asked(choice: Choice, method: str | Method) -> GradedPair | None:
    """The chosen pair, or that of a method: the chosen one, or its best; None where there is none."""
    if choice.chosen is None:
        return None
    name = method if isinstance(method, str) else method.name
    if name in (AUTO, choice.method):
        return choice.best
    own = [pair for pair in choice.pairs if pair.method == name and pair.layers and not pair.excluded]
    return max(own, key=lambda pair: (pair.stage, pair.grade), default=None)


def _method_of(pair: GradedPair) -> Method:
    found = catalogue.remade(pair.method, pair.options)
    if found is None:
        raise OptionError(
            f"the choice is {pair}; the method cannot be built from the options that the choice states "
            f"({json.dumps(dict(pair.options))}): give it by method=, and its layers by layers="
        )
    return found


def _without(choice: Choice | None, method: str | Method) -> str:
    convention = "the convention is taken"
    if choice is None:
        return f"nothing was measured for these weights: {convention}"
    if choice.chosen is None:
        return f"{choice.reason}: {convention}"
    return f"{method if isinstance(method, str) else method.name} was not measured at layers: {convention}"


def _file(weights_sha256: str) -> Path:
    return platformdirs.user_cache_path("pellucid") / "chosen" / f"{weights_sha256}.json"
