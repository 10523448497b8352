"""Files that hold no weights that can be read: what each is, and what to do with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.unpickling import Inert

ADAPTER = "adapter_config.json"
"""Peft writes this file beside an adapter's weights."""
PEFT = "base_model.model."
"""Peft puts this before the names of an adapter's weights."""
WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
SEARCHED = 10_000  # files of a folder
OWN = "give the network as --model path/to/file.py:factory, a function that returns it"
"""What always works."""


def words(name: str) -> str:
    """A name from a file in one line, cut."""
    return " ".join(name[:100].split())


def few(names: Sequence[str], count: int = 5) -> str:
    """Some names of a file in one line."""
    return ", ".join(words(name) for name in names[:count]) + (", …" if len(names) > count else "")


def whole_module(found: Inert, path: Path, key: str | None = None) -> CheckpointError:
    """Return the error for a pickled object where weights were expected."""
    entry = "" if key is None else f"[{json.dumps(key)}]"
    load = f'torch.load({json.dumps(str(path))}, map_location="cpu", weights_only=False){entry}'
    return CheckpointError(
        f"{path}: weights were expected, got a whole pickled object ({found.asked[:80]!r}), which is not loaded "
        f"because that would run its code; `pellucid convert {shlex.quote(str(path))}` takes the weights out of it "
        f"without that, or save its state_dict() where its code is: {_saving(load, path)}"
    )


def torchscript(path: Path) -> CheckpointError:
    """Return the error for a TorchScript archive."""
    load = f'torch.jit.load({json.dumps(str(path))}, map_location="cpu")'
    return CheckpointError(
        f"{path}: a TorchScript archive is not loaded because it holds code; if you trust it, save its state_dict(): "
        f"{_saving(load, path)}"
    )


def _saving(load: str, path: Path) -> str:
    """The command that saves a network's state dict beside its file."""
    target = json.dumps(str(path.with_name(f"{path.stem}-weights.pt")))
    code = f"import torch; model = {load}; torch.save(model.state_dict(), {target})"
    return f"python -c {shlex.quote(code)}"


def adapter(path: Path, found: str) -> CheckpointError:
    """Return the error for an adapter where a network's weights were expected."""
    return CheckpointError(
        f"{path}: a network's weights were expected, got an adapter's ({found}), which are added to it in a measure "
        "that they do not state; load both with peft, and save model.merge_and_unload().state_dict()"
    )


def no_weights(content: Any, path: Path) -> CheckpointError:
    """Return the error for a content that holds no named tensors."""
    entries = content if isinstance(content, Mapping) else {}
    keys = few([key for key in entries if isinstance(key, str)], 12) or f"a {type(content).__name__} without names"
    return CheckpointError(
        f"{path}: a network's weights were expected, got {keys}; save the network's own: "
        "torch.save(model.state_dict(), 'weights.pt')"
    )
