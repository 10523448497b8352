"""Where a checkpoint keeps its weights, and what it says they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.unpickling import Inert

PLACES = ("model_state_dict", "model_state", "state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "net.")


def find_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Give the weights in what a file held, by plain names. ``CheckpointError`` if there are none."""
    if isinstance(content, Inert):
        raise whole_module(content, path)
    entries = content if isinstance(content, Mapping) else {}
    for place in PLACES:
        inner = entries.get(place)
        if isinstance(inner, Inert):
            raise whole_module(inner, path)
        if isinstance(inner, Mapping) and (state := tensors(inner)):
            return strip(state)
    if state := tensors(entries):
        return strip(state)
    keys = ", ".join(str(key)[:40] for key in list(entries)[:12]) or f"a {type(content).__name__}, no mapping"
    raise CheckpointError(
        f"{path}: weights were expected under {', '.join(PLACES)} or at the top, got {keys}; save model.state_dict()"
    )


def whole_module(found: Inert, path: Path) -> CheckpointError:
    """Give the error for a pickled object in the weights' place."""
    return CheckpointError(
        f"{path}: weights were expected, got a whole pickled object ({found.asked[:80]!r}), which is not "
        "loaded because that would run its code; save model.state_dict()"
    )


def tensors(entries: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Give the tensors among the entries that have a name."""
    return {k: v.detach() for k, v in entries.items() if isinstance(k, str) and isinstance(v, Tensor)}


def strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off a wrapper's prefix, again and again, wherever all names share it."""
    for prefix in PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return strip({key.removeprefix(prefix): value for key, value in state.items()})
    return state


def find_architecture(content: Any) -> str | None:
    """Give the architecture that a file states, or None."""
    if not isinstance(content, Mapping):
        return None
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
    return next((text for text in stated if isinstance(text, str) and text), None)
