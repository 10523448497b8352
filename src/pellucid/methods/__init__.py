"""Explanation methods, one file each. A file that is put here is found; there is no list of them."""

from __future__ import annotations

import importlib
import pkgutil

from pellucid.core.catalogue import find, names
from pellucid.core.method import Method

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def __getattr__(name: str) -> type[Method]:
    """The method classes by their own names, as ``pellucid.methods.GradCAM``."""
    for cls in map(find, names()):
        if cls.__name__ == name:
            return cls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
