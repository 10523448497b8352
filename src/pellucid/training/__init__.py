"""Explanations of a fixed batch while a network is trained: what it looks at, epoch by epoch.

``MonitoringPlan`` says what is explained. ``Monitor`` does it in a loop of your own, ``ExplanationCallback`` in
Lightning's Trainer, and ``TrainerExplanationCallback`` in that of transformers. The maps are logged with their drift
from one epoch to the next and, where masks are given, with hit rate and relevance mass, by which a training can be
stopped or a model be chosen.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pellucid.training.figures import Figures
from pellucid.training.monitor import Monitor
from pellucid.training.plan import MonitoringPlan

if TYPE_CHECKING:
    from pellucid.training.lightning_callback import ExplanationCallback
    from pellucid.training.transformers_callback import TrainerExplanationCallback

__all__ = ["ExplanationCallback", "Figures", "Monitor", "MonitoringPlan", "TrainerExplanationCallback"]

# Their packages are imported on first use.
_LAZY = {"ExplanationCallback": "lightning_callback", "TrainerExplanationCallback": "transformers_callback"}


def _get(name: str) -> Any:
    """Import a callback (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


if not TYPE_CHECKING:  # else every misspelt name would be one to a type checker
    __getattr__ = _get
