"""Metrics that judge explanations, one file each, and their classes: ``from pellucid.metrics import PointingGame``.

Every file in this folder is imported and registers its metric; there is no list of them. A ``Metric`` judges the maps
of one method (``pellucid.evaluate``), a ``Comparison`` two maps of the same image (``pellucid.compare``).
"""

from __future__ import annotations

import sys
from typing import Any

from pellucid.core.members import Members
from pellucid.core.metric import METRICS
from pellucid.core.registry import import_files
from pellucid.core.replacement import References as References

import_files(__name__, __path__)
_MEMBERS = Members(__name__, METRICS.registered)


def __getattr__(name: str) -> Any:
    """A metric's class by its own name, as ``pellucid.metrics.Deletion`` (PEP 562)."""
    return _MEMBERS.find(name, sys._getframe(1))


def __dir__() -> list[str]:
    """The names of the metrics' classes, and of the modules that they are in."""
    return _MEMBERS.names(globals())
