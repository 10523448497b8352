"""Records what an explanation was made with: package versions, and digests of model weights."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import nn


def versions() -> dict[str, str]:
    """The versions of pellucid, torch and Python."""
    return {"pellucid": _own_version(), "torch": torch.__version__, "python": platform.python_version()}


@cache
def _own_version() -> str:
    return metadata.version("pellucid")


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
