"""The methods by name. A method enters by standing in a file of ``pellucid.methods`` with its decorator."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pellucid.core.method import Method
from pellucid.errors import MethodError, OptionError, did_you_mean

_METHODS: dict[str, type[Method]] = {}
M = TypeVar("M", bound=type[Method])


def method(name: str) -> Callable[[M], M]:
    """Register a method under ``name``. A name belongs to one class."""

    def register(cls: M) -> M:
        known = _METHODS.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise MethodError(f"method {name!r} is registered twice: {known.__qualname__} and {cls.__qualname__}")
        cls.name = name
        _METHODS[name] = cls
        return cls

    return register


@contextmanager
def forgetting(cls: type[Method]) -> Iterator[None]:
    """Forget a registered method afterwards: for tests of one's own methods."""
    try:
        yield
    finally:
        _METHODS.pop(cls.name, None)


def names() -> list[str]:
    """The names of all methods, sorted."""
    return sorted(_METHODS)


def black_box_methods() -> list[str]:
    """The names of the methods that ask a network for its scores alone, sorted."""
    return [name for name, cls in sorted(_METHODS.items()) if not _looks(cls)]


def _looks(cls: type[Method]) -> bool:
    return cls.uses_layers or cls.uses_gradients or cls.uses_attention


def find(name: str) -> type[Method]:
    """The class of a method, or an error that says which there are."""
    if name not in _METHODS:
        known = ", ".join(names())
        raise MethodError(f"method {name!r} was asked for; there are {known}{did_you_mean(name, _METHODS)}")
    return _METHODS[name]


def summary(cls: type[Method]) -> str:
    """The first line of the file that the method stands in: name, paper, what it does."""
    doc = sys.modules[cls.__module__].__doc__ or cls.__doc__ or ""
    return doc.strip().splitlines()[0] if doc.strip() else ""


def options(cls: type[Method]) -> dict[str, Any]:
    """The options of a method and their defaults."""
    return {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]  # methods are dataclasses


def settings(given: Method | type[Method]) -> dict[str, str | int | float | bool | None]:
    """A method's options, or a class's defaults, in plain values: a wrapped method is its name, where that says all."""
    cls = given if isinstance(given, type) else type(given)
    return {key: _plain(getattr(given, key)) for key in options(cls)}


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, Method) and value == type(value)():
        return value.name
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def build(name: str, texts: Mapping[str, str]) -> Method:
    """A method with options given as text, as on the command line."""
    cls = find(name)
    hints = get_type_hints(cls)
    unknown = [key for key in texts if key not in options(cls)]
    if unknown:
        known = ", ".join(options(cls)) or "none"
        raise OptionError(f"option {unknown[0]!r} was set; method {name!r} has the options: {known}")
    return cls(**{key: _parsed(key, text, hints[key]) for key, text in texts.items()})


def _parsed(key: str, text: str, hint: Any) -> Any:
    if hint is bool:
        return _parsed_bool(key, text)
    if hint is Method:
        return find(text)()
    if isinstance(hint, UnionType):  # X | None
        return None if text.lower() == "none" else _parsed(key, text, get_args(hint)[0])
    if get_origin(hint) is Literal and text not in get_args(hint):
        raise OptionError(f"option {key}={text} was set; it may be {', '.join(map(str, get_args(hint)))}")
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            raise OptionError(f"option {key}={text} was set; it must be a number ({hint.__name__})") from None
    return text


def _parsed_bool(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise OptionError(f"option {key}={text} was set; it must be true or false")
    return text.lower() == "true"
