"""Options that are numbers refuse anything else, before a class compares them with their range."""

from __future__ import annotations

import functools
import inspect
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
    signature = inspect.signature(made)

    @functools.wraps(made)
    def checked(*values: Any, **named: Any) -> None:
        for name, value in signature.bind(*values, **named).arguments.items():
            if name in kinds and not _is_number(value, kinds[name]):
                kind = getattr(kinds[name], "__name__", kinds[name])
                raise OptionError(f"{name}={reprlib.repr(value)} was set; it must be a number ({kind})")
        made(*values, **named)

    if kinds:
        cls.__init__ = checked
    return cls


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
