"""Attacks on predictions and on maps, one file each, and their classes: ``from pellucid.attacks import PGD``.

Every file in this folder is imported and registers its attack; there is no list of them. ``pellucid.attack`` runs one.
"""

from __future__ import annotations

import sys
from typing import Any

from pellucid.core.attack import ATTACKS
from pellucid.core.members import Members
from pellucid.core.registry import import_files

import_files(__name__, __path__)
_MEMBERS = Members(__name__, ATTACKS.registered)


def __getattr__(name: str) -> Any:
    """An attack's class by its own name, as ``pellucid.attacks.PGD`` (PEP 562)."""
    return _MEMBERS.find(name, sys._getframe(1))


def __dir__() -> list[str]:
    """The names of the attacks' classes, and of the modules that they are in."""
    return _MEMBERS.names(globals())
