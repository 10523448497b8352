"""Options that are numbers refuse anything else in one line, where a class's own checks did not."""

from __future__ import annotations

import functools
import operator
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pellucid.errors import OptionError

C = TypeVar("C", bound=type[Any])
Read = Callable[[Any], object]
_KINDS: Mapping[Any, Read] = {int: operator.index, "int": operator.index, float: float, "float": float}
"""How values of a field are read, by its type: as it is written where annotations are text."""
_OR_NONE = " | None"


def checking_numbers(cls: C) -> C:
    """A dataclass whose options of type int and float refuse what is no such number when one is made.

    Its own checks come first, as they state the range; where one cannot compare a value, this is what is raised.
    Numbers of NumPy and of tensors are taken. True and text are not, though Python reads them as numbers.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Blur:
    ...     radius: float = 1.0
    >>> checking_numbers(Blur)(radius="wide")
    Traceback (most recent call last):
    pellucid.errors.OptionError: radius='wide' was set; it must be a number (float)
    """
    kinds = {field.name: field.type for field in fields(cls) if _plain(field.type) in _KINDS}
    made: Callable[..., None] = cls.__init__

    @functools.wraps(made)
    def checked(self: object, *values: Any, **named: Any) -> None:
        try:
            made(self, *values, **named)
        except TypeError as error:
            _check(self, kinds, error)
            raise
        _check(self, kinds)

    if kinds:
        cls.__init__ = checked
    return cls


def _check(options: object, kinds: Mapping[str, object], error: TypeError | None = None) -> None:
    """Raise ``OptionError``, in place of an error that a value caused, if one is no number."""
    for name, kind in kinds.items():
        value = getattr(options, name, 0)  # 0 where an argument is missing, of which Python has an error
        if not _is_number(value, kind):
            shown = getattr(kind, "__name__", kind)
            raise OptionError(f"{name}={reprlib.repr(value)} was set; it must be a number ({shown})") from error


def _plain(kind: object) -> object:
    """The type of a field without "or None"."""
    return kind.removesuffix(_OR_NONE) if isinstance(kind, str) else kind


def _is_number(value: object, kind: object) -> bool:
    if value is None:
        return kind != _plain(kind)
    if isinstance(value, (bool, str, bytes)):
        return False
    try:
        _KINDS[_plain(kind)](value)
    except (TypeError, ValueError, RuntimeError):  # no number, an array, a tensor without values
        return False
    return True
