"""Metrics that evaluate explanations, one file each."""

from __future__ import annotations

import pkgutil
import sys
from typing import TYPE_CHECKING, Any

from pellucid.core import habits


def _get(name: str) -> Any:
    """Raise for a name that is not here, with the metric's file that was meant (PEP 562)."""
    files = [] if name.startswith("_") else [module.name for module in pkgutil.iter_modules(__path__)]
    raise habits.missing(__name__, name, {file: f"{__name__}.{file}" for file in files}, sys._getframe(1))


if not TYPE_CHECKING:  # else every misspelt name would be one to a type checker
    __getattr__ = _get
