"""The explanation methods and the priors by name, and what is known of them without a model.

A method registers itself with the decorator ``@register_method("name")``. Its module is a file in ``pellucid.methods``,
or belongs to another package that names it in the entry point group ``pellucid.methods``. Priors are methods that never
ask the model, with which methods are compared: ``@register_prior("name")``, ``pellucid.priors``. They are found and
built as methods are, and no list of methods has them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from pellucid.core.method import Method
from pellucid.core.provenance import described
from pellucid.core.registry import Registry, options, summary
from pellucid.errors import MethodError, OptionError, near

__all__ = ["METHODS", "build", "find", "names", "options", "register_method", "registered", "settings", "summary"]

METHODS: Registry[Method] = Registry("pellucid.methods", "method", MethodError)
PRIORS: Registry[Method] = Registry("pellucid.priors", "prior", MethodError)
PACKAGE = METHODS.package
"""The package whose files are imported; other packages use the same name as their entry point group."""

M = TypeVar("M", bound=type[Method])


def register_method(name: str) -> Callable[[M], M]:
    """Register a method under ``name``: the decorator of a method's class.

    Raises:
        MethodError: another class has this name, or the class is no frozen dataclass.
    """
    return _apart_from(PRIORS, METHODS, name)


def register_prior(name: str) -> Callable[[M], M]:
    """Register a prior under ``name``: the decorator of a prior's class, a ``Method`` that never asks the model.

    Raises:
        MethodError: another class has this name, or the class is no frozen dataclass, or it does not say what its maps
            are made from.
    """

    def register(cls: M) -> M:
        if cls.made_from == "model":
            raise MethodError(
                f"prior {name!r} was registered with {cls.__module__}.{cls.__qualname__}, whose maps are made from the "
                "model: set made_from to 'image', 'masks' or 'nothing', or use @register_method"
            )
        return _apart_from(METHODS, PRIORS, name)(cls)

    return register


def _apart_from(other: Registry[Method], own: Registry[Method], name: str) -> Callable[[M], M]:
    """Register a class unless one of the other kind has the name, as both are asked for in the same way."""

    def register(cls: M) -> M:
        if not cls.__module__.startswith("pellucid."):  # our own names are tested to be distinct
            importlib.import_module(other.package)
        if name in other.classes:
            known = other.classes[name]
            raise MethodError(
                f"{own.noun} {name!r} was registered with {cls.__module__}.{cls.__qualname__}; the {other.noun} "
                f"{known.__module__}.{known.__qualname__} has that name: choose another"
            )
        return own.register(name)(cls)

    return register


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
    """The class of a method or prior.

    Broken entry points are reported by ``PellucidWarning``: that of the name, or else all.

    Raises:
        MethodError: there is no method or prior of that name.
    """
    return _registry_of(name).find(name)


def _registry_of(name: str) -> Registry[Method]:
    """Where a name is, or is looked for: among the priors where it is most like one of them."""
    methods = METHODS.registered()
    if name in methods:
        return METHODS
    priors = PRIORS.registered()
    return PRIORS if next(iter(near(name, [*methods, *priors])), None) in priors else METHODS


def settings(given: Method | type[Method]) -> dict[str, str | int | float | bool | None]:
    """A method's options, or a class's defaults, as plain values. A wrapped method with default options is its name."""
    cls = given if isinstance(given, type) else type(given)
    return {key: _plain(getattr(given, key)) for key in options(cls)}


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, Method) and value == type(value)():
        return value.name
    return value if isinstance(value, (str, int, float, bool, type(None))) else described(value)


def remade(name: str, known: Mapping[str, object]) -> Method | None:
    """The method with the options that ``settings`` stated; None where they do not say all of it.

    So it is of a method of another package that is not installed, and of a wrapper around a method with options.
    """
    try:
        found = build(name, {key: str(value) for key, value in known.items()})
    except OptionError:
        return None
    return found if settings(found) == dict(known) else None


def build(name: str, texts: Mapping[str, str]) -> Method:
    """A method or prior with options given as text, as on the command line."""
    return _registry_of(name).build(name, texts)
