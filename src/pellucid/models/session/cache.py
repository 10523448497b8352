"""What was found out about a model, kept as long as the model lives: the one cache of the engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

T = TypeVar("T")
_KNOWN: WeakKeyDictionary[nn.Module, dict[Hashable, Any]] = WeakKeyDictionary()


def remembered(model: nn.Module, key: Hashable, find: Callable[[], T]) -> T:
    """The value that is kept for a model under a key, found when it is first asked for.

    Two threads that ask at once may both find it. A value must not lead to the model: it would keep the model alive.
    """
    known = _KNOWN.setdefault(model, {})
    if key not in known:
        known[key] = find()
    value: T = known[key]
    return value
