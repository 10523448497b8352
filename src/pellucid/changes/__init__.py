"""Changes of images with growing strengths, one file each, and their classes: ``from pellucid.changes import Noise``.

Every file in this folder is imported and registers its change; there is no list of them. ``pellucid robustness`` asks
what they do to answers and maps. Attacks (``pellucid.attacks``) are changes, too, that are searched for.
"""

from __future__ import annotations

import sys
from typing import Any

from pellucid.core.change import CHANGES
from pellucid.core.members import Members
from pellucid.core.registry import import_files

import_files(__name__, __path__)
_MEMBERS = Members(__name__, CHANGES.registered)


def __getattr__(name: str) -> Any:
    """A change's class by its own name, as ``pellucid.changes.Noise`` (PEP 562)."""
    return _MEMBERS.find(name, sys._getframe(1))


def __dir__() -> list[str]:
    """The names of the changes' classes, and of the modules that they are in."""
    return _MEMBERS.names(globals())
