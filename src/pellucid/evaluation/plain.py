"""Frozen dataclasses as plain values that JSON can hold, and back by their type hints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from pellucid.errors import DataError

Plain = dict[str, Any] | list[Any] | str | int | float | bool | None


def plain(value: object) -> Plain:
    """A value of dataclasses, mappings, sequences, texts and numbers as JSON has it; NaN and infinity are null.

    >>> plain({"figure": (float("nan"), np.float64(0.5))})
    {'figure': [None, 0.5]}

    Raises:
        DataError: it holds something else, of which no text is known that is the same each time.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, AbstractSet):
        return [plain(one) for one in sorted(value)]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(one) for one in value]
    return _scalar(value)


def _scalar(value: object) -> Plain:
    if isinstance(value, Enum | PurePath):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise DataError(f"a result holds a {type(value).__name__}, which cannot be written as JSON: give it as text")


def made(hint: Any, value: Any) -> Any:
    """The value of a type that plain values stand for: the inverse of ``plain``, null being NaN where a float is.

    Raises:
        DataError: the values are not of this type.
    """
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is Any:
        return value
    if origin in (Union, UnionType):
        return None if value is None else made(next(one for one in args if one is not NoneType), value)
    if isinstance(value, dict) and origin is Mapping:
        return {key: made(args[1], one) for key, one in value.items()}
    if isinstance(value, list) and origin is Sequence:
        return tuple(made(args[0], one) for one in value)
    if isinstance(value, list) and origin is tuple and len(value) == len(args):
        return tuple(made(one, entry) for one, entry in zip(args, value, strict=True))
    if is_dataclass(origin) and isinstance(value, dict):
        return _object(origin, value)
    return _number_or_text(origin, value)


def _object(cls: Any, value: Mapping[str, Any]) -> Any:
    hints = _hints(cls)
    if not set(value) <= set(hints):
        raise DataError(
            f"a {cls.__name__} was read with {sorted(set(value) - set(hints))[0]!r}, which it does not have"
        )
    try:
        return cls(**{name: made(hints[name], one) for name, one in value.items()})
    except TypeError:
        missing = sorted(set(hints) - set(value))
        raise DataError(f"a {cls.__name__} was read without {', '.join(missing)}") from None


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _number_or_text(kind: Any, value: Any) -> Any:
    if kind is float and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
        return math.nan if value is None else float(value)
    if isinstance(value, str) and issubclass(kind, Enum) and value in {one.value for one in kind}:
        return kind(value)
    if type(value) is kind:
        return value
    raise DataError(f"a value of type {kind.__name__} was expected, {type(value).__name__} was read")
