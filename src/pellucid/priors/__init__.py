"""Priors, with which methods are compared, one file each, and their classes: ``from pellucid.priors import Edges``.

A prior is a ``Method`` that never asks the model: it is made from the image alone, from masks of other images, or from
nothing. Whatever a map is said to show, it has to show better than these do. Priors run through the same code as
methods, ``pellucid.explain(model, images, method="edges")``; no list of methods has them. Every file in this folder is
imported and registers its prior; there is no list of them either.
"""

from __future__ import annotations

import sys
from typing import Any

from pellucid.core.catalogue import PRIORS
from pellucid.core.members import Members
from pellucid.core.registry import import_files
from pellucid.priors.mean_mask import mean_mask_maps as mean_mask_maps

import_files(__name__, __path__)
_MEMBERS = Members(__name__, PRIORS.registered)


def __getattr__(name: str) -> Any:
    """A prior's class by its own name, as ``pellucid.priors.MeanMask`` (PEP 562)."""
    return _MEMBERS.find(name, sys._getframe(1))


def __dir__() -> list[str]:
    """The names of the priors' classes, and of the modules that they are in."""
    return _MEMBERS.names(globals())
