"""Find the weights in a checkpoint's content, and the architecture that it states."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import CheckpointError, did_you_mean, warn
from pellucid.models.checkpoints.rebuilding import Inert
from pellucid.models.checkpoints.refusals import PEFT, adapter, few, no_weights, whole_module, words

USUAL = ("model_state_dict", "model_state", "state_dict", "model", "module", "_orig_mod", "backbone", "net")
"""Keys and prefixes of the plain weights, in this order, where a file holds other networks' too, as averaged ones."""
DEPTH = 6  # so deep mappings within one another are searched
LONGEST_KEY = 200
MANY = 100  # of so many networks in a file none is compared with the others


def find_state(content: Any, path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Return the weights in a file's content by their names there; with ``key``, those under that key or prefix.

    Of several networks' weights the plain ones are returned, with a warning that names the others. If none are plain,
    all are returned, each name after the keys that it is under: which of them are a classifier's shows later.
    ``CheckpointError``: there are none.
    """
    if isinstance(content, Inert):
        raise whole_module(content, path)
    found = networks(content)
    if key is not None:
        return _whole(_under(key, found, content, path), path)
    if not found:
        raise _nothing(content, path)
    place = plain(list(found))
    if place is None:
        return _whole(_joined(found), path)
    if others := [other for other in found if other != place]:
        warn(f"{path}: {taken(place, others)}")
    return _whole(found[place], path)


def networks(content: Any) -> dict[str, dict[str, Tensor]]:
    """Return the mappings that hold weights, by the dotted keys that they are under ("" at the top).

    If some hold a layer's weight, the others are none of a network (statistics, the classes' weights in a loss).
    """
    found = dict(_mappings(content, "", DEPTH, set()))
    layered = {place: state for place, state in found.items() if any(map(is_layer, state, state.values()))}
    return _distinct(layered or found)


def _mappings(content: Any, place: str, depth: int, seen: set[int]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each mapping that holds tensors once. An optimiser's are under numbers, and are left out."""
    if id(content) in seen:
        return
    seen.add(id(content))
    own = tensors(content) if isinstance(content, Mapping) else {}
    if any(value.ndim for value in own.values()):
        yield place, own
    for key, inner in _entries(content) if depth else ():
        yield from _mappings(inner, f"{place}.{key}".removeprefix("."), depth - 1, seen)


def _entries(content: Any) -> Iterator[tuple[str | int, Any]]:
    """The entries that may hold others."""
    pairs: Iterable[tuple[Any, Any]] = enumerate(content) if isinstance(content, list | tuple) else ()
    if isinstance(content, Mapping):
        pairs = ((key, inner) for key, inner in content.items() if isinstance(key, str) and len(key) < LONGEST_KEY)
    return ((key, inner) for key, inner in pairs if isinstance(inner, Mapping | list | tuple))


def tensors(entries: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the named tensors among the entries."""
    return {k: v.detach() for k, v in entries.items() if isinstance(k, str) and isinstance(v, Tensor)}


def is_layer(name: str, value: Tensor) -> bool:
    """Whether a tensor is the weight of a layer."""
    return name.endswith("weight") and value.ndim > 1


def _distinct(found: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Leave out weights that are in the file twice."""
    kept: dict[str, dict[str, Tensor]] = {}
    for place in sorted(found, key=rank) if len(found) <= MANY else found:
        if len(found) > MANY or not any(equal(found[place], other) for other in kept.values()):
            kept[place] = found[place]
    return kept


def equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two states have the same names and values."""
    return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same values; those without memory have none."""
    alike = first.shape == second.shape and first.dtype == second.dtype
    return alike and not first.is_meta and not second.is_meta and torch.equal(first, second)


def plain(places: Sequence[str]) -> str | None:
    """Return the one of several keys or prefixes that is the usual one of plain weights; None if none is."""
    first, *others = sorted(places, key=rank)
    return first if not others or rank(first) < min(rank(others[0]), len(USUAL) + 2) else None


def rank(place: str) -> int:
    """The top first, then the usual keys, then those that end in one."""
    if place in ("", *USUAL):
        return ("", *USUAL).index(place)
    return len(USUAL) + (1 if place.rpartition(".")[2] in USUAL else 2)


def taken(place: str, others: Sequence[str]) -> str:
    """Say that one of several networks in a file is taken, and how to take another."""
    return (
        f"the weights {f'under {words(place)!r}' if place else 'at the top'} are taken; the file has others under "
        f"{few(others)}: take those with {with_key(others[0])}"
    )


def with_key(key: str) -> str:
    """How to take the weights under a key."""
    return f"weights_key={words(key)!r}"


def _joined(found: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return all weights in one, each name after the keys that it is under."""
    pairs = ((place, name, value) for place, state in found.items() for name, value in state.items())
    return {f"{place}.{name}".removeprefix("."): value for place, name, value in pairs}


def _under(key: str, found: dict[str, dict[str, Tensor]], content: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights under a key of the file, or under a prefix of the plain weights' names."""
    start = f"{key.rstrip('.')}."
    named = _joined(found)
    for state in (named, found.get(plain(list(found)) or "", {}) if found else {}):
        if inside := {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}:
            return inside
    if isinstance(content, Mapping) and isinstance(content.get(key), Inert):
        raise whole_module(content[key], path, key)
    known = list(dict.fromkeys([*filter(None, found), *(name.partition(".")[0] for name in named if "." in name)]))
    raise CheckpointError(
        f"{path}: {with_key(key)} was asked for; the file has weights under {few(known) or 'no key'}"
        f"{did_you_mean(key, known[:MANY])}"
    )


def _nothing(content: Any, path: Path) -> CheckpointError:
    """Return the error for a content without weights."""
    entries = content if isinstance(content, Mapping) else {}
    pickled = next((key for key in USUAL if isinstance(entries.get(key), Inert)), None)
    if pickled is not None:
        return whole_module(entries[pickled], path, pickled)
    return no_weights(content, path)


def _whole(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return weights that are a network's own. ``CheckpointError`` for those that are only added to others.

    How much of them is added (LoRA's alpha / r) is not in a weights file, so that they cannot be merged here.
    """
    added = [key for key in state if any(part.startswith("lora_") for part in key.split("."))]
    if added or all(key.startswith(PEFT) for key in state):
        raise adapter(path, words((added or list(state))[0]))
    return state


def find_architecture(content: Any) -> str | None:
    """Return the architecture that a file states, or None."""
    return next(iter(architectures(content)), None)


def architectures(content: Any) -> list[str]:
    """Return every name that a file states for its architecture, the likeliest first."""
    if not isinstance(content, Mapping):
        return []
    config = content.get("config")
    config = config if isinstance(config, Mapping) else {}
    model = config.get("model")
    named = model if isinstance(model, Mapping) else {}
    stated = [
        *(content.get(key) for key in ("architecture", "arch")),
        *(named.get(key) for key in ("architecture", "arch", "name")),
        model,
        *(config.get(key) for key in ("architecture", "arch", "model_name")),
    ]
    return [text for text in stated if isinstance(text, str) and text]
