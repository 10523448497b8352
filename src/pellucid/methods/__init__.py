"""The explanation methods, one file each, and their classes: ``from pellucid.methods import GradCAM``.

Every file in this folder is imported and registers its method; there is no list of them. Type checkers and editors
read the classes from ``__init__.pyi``, which ``hatch_build.py`` makes from the files when the package is built.
"""

from __future__ import annotations

import sys
from typing import Any

from pellucid.core.catalogue import registered
from pellucid.core.members import Members
from pellucid.core.registry import import_files

import_files(__name__, __path__)
_MEMBERS = Members(__name__, registered)


def __getattr__(name: str) -> Any:
    """A method's class by its own name, as ``pellucid.methods.GradCAM`` (PEP 562)."""
    return _MEMBERS.find(name, sys._getframe(1))


def __dir__() -> list[str]:
    """The names of the method classes, and of the modules that they are in."""
    return _MEMBERS.names(globals())
