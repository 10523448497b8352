"""Records what an explanation was made with: package versions, and digests of model weights."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def versions() -> dict[str, str]:
    """The versions of pellucid, torch and Python."""
    return {"pellucid": _own_version(), "torch": torch.__version__, "python": platform.python_version()}


@cache
def _own_version() -> str:
    return metadata.version("pellucid")


def described(value: object) -> str:
    """An option's value as text; of tensors, arrays and lists of them, their shape or number and a digest (SHA-256).

    >>> described(torch.zeros(2, 3))
    'tensor (2, 3), SHA-256 71c9ecb03680bccf'
    """
    if not isinstance(value, (Tensor, np.ndarray, list, tuple)):
        return str(value)
    whole = hashlib.sha256()
    _feed(value, whole.update)
    size = f"{len(value)} values" if isinstance(value, (list, tuple)) else f"{tuple(value.shape)}"
    kind = "" if isinstance(value, (list, tuple)) else "tensor "
    return f"{kind}{size}, SHA-256 {whole.hexdigest()[:16]}"


def _feed(value: Any, update: Callable[[bytes], None]) -> None:
    """Give the content of a value to a digest: of tensors and arrays alike, of lists and mappings one by one."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().float().numpy() if value.is_floating_point() else value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        update(f"{value.dtype.kind} {value.shape}".encode())
        update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, (list, tuple, Mapping)):
        update(f"{type(value).__name__} {len(value)}".encode())
        for one in value.items() if isinstance(value, Mapping) else value:
            _feed(one, update)
    else:
        update(repr(value).encode())


def digest(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of a model's parameters and buffers, as hexadecimal.

    Models with the same digest have the same weights, whatever their file or device.
    """
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        whole.update(raw.numpy().data)
    return whole.hexdigest()


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def architecture(model: nn.Module) -> str:
    """SHA-256 over the structure of a model, and over the files of code that its modules' classes are defined in.

    It differs where the weights are the same and what is computed with them is not, such as another activation.
    """
    files = {getattr(sys.modules.get(type(module).__module__), "__file__", None) for module in model.modules()}
    contents = sorted(hashlib.sha256(content).hexdigest() for content in map(_content, filter(None, files)))
    return hashlib.sha256("\n".join([_ADDRESS.sub("", repr(model)), *contents]).encode()).hexdigest()


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:  # code that was not read from a file
        return b""
