"""``available_methods``: the names that ``explain(method=…)`` accepts."""

from __future__ import annotations

from pellucid.core import catalogue


def available_methods() -> list[str]:
    """The names of all explanation methods, sorted.

    >>> available_methods()[:4]
    ['ablationcam', 'attention', 'attnlrp', 'aug_smooth']
    """
    return catalogue.names()
