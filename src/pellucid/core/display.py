"""Lets a package above core define how notebooks display the objects of core.

Drawing needs ``pellucid.render``, which core must not import. So the public package registers a function here when it
is imported, and ``_repr_html_`` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HTMLFormatter = Callable[[Any], str]
"""The HTML of an explanation, as a self-contained fragment."""

_formatters: list[HTMLFormatter] = []


def register_html(formatter: HTMLFormatter) -> None:
    """Use ``formatter`` from now on, in place of the one before."""
    _formatters[:] = [formatter]


def html(explanation: Any) -> str | None:
    """The HTML of an explanation; None, by which notebooks fall back to ``repr``, if no formatter is registered."""
    return _formatters[0](explanation) if _formatters else None
