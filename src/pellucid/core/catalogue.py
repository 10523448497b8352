"""The explanation methods by name, and what is known of them without a model.

A method registers itself with the decorator ``@register_method("name")``. Its module is a file in ``pellucid.methods``,
or belongs to another package that names it in the entry point group ``pellucid.methods``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from pellucid.core.method import Method
from pellucid.core.registry import Registry, options, summary
from pellucid.errors import MethodError

__all__ = ["METHODS", "build", "find", "names", "options", "register_method", "registered", "settings", "summary"]

METHODS: Registry[Method] = Registry("pellucid.methods", "method", MethodError)
PACKAGE = METHODS.package
"""The package whose files are imported; other packages use the same name as their entry point group."""

M = TypeVar("M", bound=type[Method])


def register_method(name: str) -> Callable[[M], M]:
    """Register a method under ``name``: the decorator of a method's class.

    Raises:
        MethodError: another class has this name, or the class is no frozen dataclass.
    """
    return METHODS.register(name)


def load() -> None:
    """Import all methods: the files of ``pellucid.methods`` and what other packages add."""
    METHODS.load()


def registered() -> Mapping[str, type[Method]]:
    """All methods by name."""
    return METHODS.registered()


def forgetting(cls: type[Method]) -> AbstractContextManager[None]:
    """Forget a registered method afterwards: for tests of one's own methods."""
    return METHODS.forgetting(cls)


def names() -> list[str]:
    """The names of all methods, sorted."""
    return METHODS.names()


def black_box_methods() -> list[str]:
    """The names of the methods that need nothing but a model's scores, sorted."""
    return [name for name, cls in sorted(registered().items()) if not _looks_inside(cls)]


def signed_methods() -> list[str]:
    """The names of the methods whose maps have negative values that speak against the class, sorted."""
    return [name for name, cls in sorted(registered().items()) if cls.signed]


def gradient_free_methods() -> list[str]:
    """The names of the methods that need no gradient, neither for the map nor to read attention, sorted."""
    return [name for name, cls in sorted(registered().items()) if not (cls.uses_gradients or cls.uses_attention)]


def _looks_inside(cls: type[Method]) -> bool:
    return cls.uses_layers or cls.uses_gradients or cls.uses_attention


def failures() -> list[str]:
    """Why methods of other packages were left out, one line each."""
    return METHODS.failures()


def find(name: str) -> type[Method]:
    """The class of a method. Broken entry points are reported by ``PellucidWarning``: that of the name, or else all.

    Raises:
        MethodError: there is no method of that name.
    """
    return METHODS.find(name)


def settings(given: Method | type[Method]) -> dict[str, str | int | float | bool | None]:
    """A method's options, or a class's defaults, as plain values. A wrapped method with default options is its name."""
    cls = given if isinstance(given, type) else type(given)
    return {key: _plain(getattr(given, key)) for key in options(cls)}


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, Method) and value == type(value)():
        return value.name
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def build(name: str, texts: Mapping[str, str]) -> Method:
    """A method with options given as text, as on the command line."""
    return METHODS.build(name, texts)
