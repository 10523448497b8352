"""Find the weights in a checkpoint's content, and the architecture that it states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.unpickling import Inert

ADAPTER = "adapter_config.json"
"""Peft writes this file beside an adapter's weights."""
KEYS = ("model_state_dict", "model_state", "state_dict", "model")
PEFT = "base_model.model."
"""Peft puts this before the names of an adapter's weights."""
PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.", "net.")


def find_state(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the weights in a file's content, by plain names. ``CheckpointError`` if there are none."""
    if isinstance(content, Inert):
        raise whole_module(content, path)
    entries = content if isinstance(content, Mapping) else {}
    for key in KEYS:
        inner = entries.get(key)
        if isinstance(inner, Inert):
            raise whole_module(inner, path)
        if isinstance(inner, Mapping) and (state := tensors(inner)):
            return strip(whole(state, path))
    if state := tensors(entries):
        return strip(whole(state, path))
    named = [" ".join(key[:40].split()) for key in entries if isinstance(key, str)][:12]
    keys = ", ".join(named) or f"a {type(content).__name__} without names"
    raise CheckpointError(
        f"{path}: weights were expected under {', '.join(KEYS)} or at the top, got {keys}; save model.state_dict()"
    )


def whole_module(found: Inert, path: Path) -> CheckpointError:
    """Return the error for a pickled object where weights were expected."""
    return CheckpointError(
        f"{path}: weights were expected, got a whole pickled object ({found.asked[:80]!r}), which is not "
        "loaded because that would run its code; save model.state_dict()"
    )


def whole(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return weights that are a network's own. ``CheckpointError`` for those that are only added to others.

    How much of them is added (LoRA's alpha / r) is not in a weights file, so that they cannot be merged here.
    """
    added = [key for key in state if any(part.startswith("lora_") for part in key.split("."))]
    if added or all(key.startswith(PEFT) for key in state):
        raise adapter(path, " ".join((added or list(state))[0][:100].split()))
    return state


def adapter(path: Path, found: str) -> CheckpointError:
    """Return the error for an adapter where a network's weights were expected."""
    return CheckpointError(
        f"{path}: a network's weights were expected, got an adapter's ({found}), which are added to it in a measure "
        "that they do not state; load both with peft, and save model.merge_and_unload().state_dict()"
    )


def tensors(entries: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the named tensors among the entries."""
    return {k: v.detach() for k, v in entries.items() if isinstance(k, str) and isinstance(v, Tensor)}


def strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove wrappers' prefixes, as long as all names share one."""
    at = 0
    while state and (prefix := next((p for p in PREFIXES if all(key.startswith(p, at) for key in state)), None)):
        at += len(prefix)
    return {key[at:]: value for key, value in state.items()}


def find_architecture(content: Any) -> str | None:
    """Return the architecture that a file states, or None."""
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
