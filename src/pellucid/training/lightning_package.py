"""Lightning, under either name of its package: ``pytorch_lightning`` or ``lightning.pytorch``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from pellucid.core.optional import OptionalPackage

PYTORCH, UNIFIED = "pytorch_lightning", "lightning.pytorch"


def lightning(purpose: str) -> Any:
    """The package: the one that was imported before, as its Trainer is used then; else one that is installed.

    Raises:
        MissingPackageError: none is.
    """
    for name in (PYTORCH, UNIFIED):
        if sys.modules.get(name) is not None:
            return sys.modules[name]
    try:
        return import_module(UNIFIED)
    except ImportError:
        return OptionalPackage(PYTORCH, "train").load(purpose)
