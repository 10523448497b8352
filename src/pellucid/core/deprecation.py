"""Keep calls working for one more minor version, with a ``DeprecationWarning`` at the caller's line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from pellucid.errors import warn

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


def positional_deprecated(function: Callable[P, R]) -> Callable[P, R]:
    """Accept keyword-only arguments by position too, in the order of the signature, with a ``DeprecationWarning``.

    Type checkers and ``inspect.signature`` see the keyword-only signature.
    """
    parameters = inspect.signature(function).parameters.values()
    count = sum(parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for parameter in parameters)
    keywords = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        extra = args[count:]
        if not extra:
            return function(*args, **kwargs)
        named = dict(zip(keywords, extra, strict=False))
        if len(extra) > len(keywords) or named.keys() & kwargs.keys():
            return function(*args, **kwargs)  # Python's own TypeError
        listed = ", ".join(f"{name}=" for name in named)
        warn(
            f"{_name(function)} takes {listed} by keyword; by position is deprecated and ends with the next minor "
            "version: write the name",
            DeprecationWarning,
        )
        call: Callable[..., R] = function
        return call(*args[:count], **kwargs, **named)

    return wrapper


def positional_fields_deprecated(cls: C) -> C:
    """The same for the keyword-only fields of a dataclass: decorate the dataclass with it."""
    type.__setattr__(cls, "__init__", positional_deprecated(vars(cls)["__init__"]))
    return cls


def _name(function: Callable[..., object]) -> str:
    return function.__qualname__.removesuffix(".__init__")
