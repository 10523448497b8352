"""``available_methods``: the names that ``explain(method=…)`` accepts."""

from __future__ import annotations

from pellucid.core import catalogue


def available_methods() -> list[str]:
    """The names of all explanation methods, sorted.

    Not all of their maps depend on what a network has learnt: ``pellucid methods`` marks those that failed the test
    against random weights (docs/gates.md), and ``pellucid methods --json`` has the outcome of each.

    >>> available_methods()[:4]
    ['ablationcam', 'attention', 'attnlrp', 'aug_smooth']
    """
    return catalogue.names()
