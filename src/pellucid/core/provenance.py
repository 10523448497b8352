"""Records what an explanation was made with: package versions, and digests of model weights."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata

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
