"""Budgets in words."""

from __future__ import annotations

_LEVELS = 255


def level_of(level: float) -> str:
    """A budget as it is written: one of whole grey levels as such, others with three digits.

    >>> level_of(2 / 255), level_of(0.05), level_of(20.0), level_of(0.0)
    ('2/255', '0.05', '20', '0')
    """
    grey = level * _LEVELS
    is_grey = 0 < level < 1 and abs(grey - round(grey)) < 1e-6
    return f"{round(grey)}/{_LEVELS}" if is_grey and len(f"{level:.6g}") > len("0.001") else f"{level:.3g}"
