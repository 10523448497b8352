"""Attacks on predictions and on maps, one file each, and their classes: ``from pellucid.attacks import PGD``.

Every file in this folder is imported and registers its attack; there is no list of them. ``pellucid.attack`` runs one.
"""

from __future__ import annotations

import sys
from typing import Any

from pellucid.core import habits
from pellucid.core.attack import ATTACKS
from pellucid.core.registry import import_files

import_files(__name__, __path__)


def _classes() -> dict[str, Any]:
    """The attacks' classes by their own names, those of other packages included."""
    return {cls.__name__: cls for cls in ATTACKS.registered().values()}


def __getattr__(name: str) -> Any:
    """An attack's class by its own name, as ``pellucid.attacks.PGD`` (PEP 562)."""
    known = {} if name.startswith("_") else _classes()
    if name not in known:
        raise habits.missing(__name__, name, {one: one for one in known}, sys._getframe(1))
    return known[name]


def __dir__() -> list[str]:
    """The names of the attacks' classes, and of the modules that they are in."""
    return sorted({*globals(), *_classes()})
