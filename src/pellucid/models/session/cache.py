"""The only cache of what was found for a model: it is kept as long as the model lives."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

T = TypeVar("T")
_KNOWN: WeakKeyDictionary[nn.Module, dict[Hashable, Any]] = WeakKeyDictionary()


def remembered(model: nn.Module, key: Hashable, find: Callable[[], T]) -> T:
    """The value cached for a model under a key, computed on first use.

    Two threads that need it at once may both compute it. A value must not reference the model: it would keep it alive.
    """
    known = _KNOWN.setdefault(model, {})
    if key not in known:
        known[key] = find()
    value: T = known[key]
    return value


def remembered_while(model: nn.Module, key: Hashable, stamp: Hashable, find: Callable[[], T]) -> T:
    """The value that is kept for a model under a key as long as a stamp is the same; the newest one only."""
    known = _KNOWN.setdefault(model, {})
    if key not in known or known[key][0] != stamp:
        known[key] = stamp, find()
    value: T = known[key][1]
    return value
