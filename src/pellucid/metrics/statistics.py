"""The Wilson interval, at its earlier address; the statistics are in ``pellucid.statistics``."""

from __future__ import annotations

from pellucid.statistics.proportions import wilson

__all__ = ["wilson"]
