"""Attributes that are computed on first use, without a lock.

``functools.cached_property`` has one lock for all instances of a class (until Python 3.12). A child that is forked
while another thread holds the lock would deadlock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801  # used as ``property`` is
    """A property whose value is cached on its object, also on a frozen dataclass."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> lazy[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> T | lazy[T]:
        """The value; two threads that need it at once may both compute it."""
        if instance is None:
            return self
        value = vars(instance)[self._name] = self._compute(instance)
        return value
