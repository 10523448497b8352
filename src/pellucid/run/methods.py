"""``available_methods``: the names that ``explain(method=…)`` accepts."""

from __future__ import annotations

import pellucid.methods  # noqa: F401  # importing the package registers the methods
from pellucid.core import catalogue


def available_methods() -> list[str]:
    """The names of all explanation methods, sorted.

    >>> available_methods()[:4]
    ['ablationcam', 'attention', 'attnlrp', 'aug_smooth']
    """
    return catalogue.names()
