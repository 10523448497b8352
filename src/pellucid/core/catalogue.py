"""The explanation methods by name, and their options as text.

A method registers itself with the decorator ``@register_method("name")``. Its module is a file in ``pellucid.methods``,
or belongs to another package that names it in the entry point group ``pellucid.methods``. All of them are imported
when the catalogue is first asked.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pellucid.core.method import Method
from pellucid.core.plugins import Plugins
from pellucid.errors import MethodError, OptionError, did_you_mean, warn

PACKAGE = "pellucid.methods"
"""The package whose files are imported; other packages use the same name as their entry point group."""

_METHODS: dict[str, type[Method]] = {}
M = TypeVar("M", bound=type[Method])


def register_method(name: str) -> Callable[[M], M]:
    """Register a method under ``name``: the decorator of a method's class.

    Raises:
        MethodError: another class has this name, or the class is no frozen dataclass.
    """

    def register(cls: M) -> M:
        _check_dataclass(name, cls)
        known = _METHODS.get(name)
        if known is not None and _path(known) != _path(cls):
            raise MethodError(f"method {name!r} is registered twice, by {_path(known)} and {_path(cls)}: rename one")
        cls.name = name
        _METHODS[name] = cls
        return cls

    return register


def _check_dataclass(name: str, cls: type[Method]) -> None:
    """Raise unless a class is a frozen dataclass itself: one that only inherits its fields would hide its options."""
    parameters = vars(cls).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        found = "no dataclass" if parameters is None else "a dataclass that is not frozen"
        raise MethodError(
            f"method {name!r} was registered with {_path(cls)}, which is {found}: "
            "write @dataclass(frozen=True) between @register_method and the class"
        )


def _path(cls: type[Method]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _use(entry: EntryPoint) -> None:
    """Import an entry point's module, which registers the method of that name."""
    before = set(_METHODS)
    try:
        entry.load()
        _check_registered(entry, before)
    except BaseException:
        _forget_module(entry)
        raise


def _forget_module(entry: EntryPoint) -> None:
    """Forget what a failed entry point's module registered; if it was imported, not what other entry points name."""
    others = {other.name for other in entry_points(group=PACKAGE)} if entry.module in sys.modules else set()
    own = [name for name, cls in _METHODS.items() if cls.__module__ == entry.module]
    for name in own:
        if name == entry.name or name not in others:
            del _METHODS[name]


def _check_registered(entry: EntryPoint, before: set[str]) -> None:
    cls = _METHODS.get(entry.name)
    if cls is None:
        own = (name for name, other in _METHODS.items() if name not in before or other.__module__ == entry.module)
        others = ", ".join(map(repr, sorted(own)))
        found = f", but {others}: give the entry point that name" if others else ": decorate its class with that name"
        raise MethodError(f"{entry.value} registers no method {entry.name!r}{found}")
    if cls.__module__.startswith(f"{PACKAGE}.") and not entry.module.startswith(f"{PACKAGE}."):
        raise MethodError(f"pellucid has a method {entry.name!r} of its own: rename the other one")


_PLUGINS = Plugins(PACKAGE, _use)


def load() -> None:
    """Import all methods: the files of ``pellucid.methods`` and what other packages add."""
    importlib.import_module(PACKAGE)  # by name: core imports no method
    _PLUGINS.load()


def registered() -> Mapping[str, type[Method]]:
    """All methods by name."""
    load()
    return _METHODS


@contextmanager
def forgetting(cls: type[Method]) -> Iterator[None]:
    """Forget a registered method afterwards: for tests of one's own methods."""
    try:
        yield
    finally:
        _METHODS.pop(cls.name, None)


def names() -> list[str]:
    """The names of all methods, sorted."""
    return sorted(registered())


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
    load()
    return list(_PLUGINS.failures.values())


def find(name: str) -> type[Method]:
    """The class of a method. Broken entry points are reported by ``PellucidWarning``: that of the name, or else all.

    Raises:
        MethodError: there is no method of that name.
    """
    known = registered()
    for failure in _PLUGINS.failures_of(name, is_known=name in known):
        warn(failure)
    if name not in known:
        hint = did_you_mean(name, known) or f"; there are {', '.join(names())}"
        raise MethodError(f"method {name!r} was asked for; no method has that name{hint}")
    return known[name]


def summary(cls: type[Method]) -> str:
    """The first line of the method's module: name, paper, what it does."""
    doc = sys.modules[cls.__module__].__doc__ or cls.__doc__ or ""
    return doc.strip().splitlines()[0] if doc.strip() else ""


def options(cls: type[Method]) -> dict[str, Any]:
    """The options of a method with their defaults."""
    return {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]  # methods are dataclasses


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
