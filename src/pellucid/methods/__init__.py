"""The explanation methods, one file each, and their classes: ``from pellucid.methods import GradCAM``.

Every file in this folder is imported and registers its method; there is no list of them. Type checkers and editors
read the classes from ``__init__.pyi``, which ``hatch_build.py`` makes from the files when the package is built.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from typing import Any

from pellucid.core import habits
from pellucid.core.catalogue import registered

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def _classes() -> dict[str, Any]:
    """The method classes by their own names, those of other packages included."""
    return {cls.__name__: cls for cls in reversed(registered().values())}


def __getattr__(name: str) -> Any:
    """A method's class by its own name, as ``pellucid.methods.GradCAM`` (PEP 562)."""
    known = {} if name.startswith("_") else _classes()
    if name not in known:
        raise habits.missing(__name__, name, {one: one for one in known}, sys._getframe(1))
    return known[name]


def __dir__() -> list[str]:
    """The names of the method classes, and of the modules that they are in."""
    return sorted({*globals(), *_classes()})
