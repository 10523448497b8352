"""Classes by name, such as the methods, metrics and priors: those of this package and those of other packages.

A class registers itself with a decorator. Its module is a file in a package of pellucid, ``pellucid.metrics`` for
instance, or belongs to another package that names it in the entry point group of the same name. All of them are
imported when the registry is first asked.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from importlib.metadata import EntryPoint, entry_points
from types import UnionType
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from pellucid.core.number_options import checking_numbers
from pellucid.core.plugins import Plugins
from pellucid.errors import OptionError, did_you_mean, warn

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


class Registry(Generic[T]):
    """The registered classes of one kind; ``package`` holds their files, and ``noun`` is what messages call one.

    ``error`` is raised for a name that nothing has, and for a class that cannot be registered.
    """

    def __init__(self, package: str, noun: str, error: type[OptionError] = OptionError) -> None:
        self.package, self.noun = package, noun
        self.classes: dict[str, type[T]] = {}
        self.plugins = Plugins(package, self._use)
        self._error = error

    def register(self, name: str) -> Callable[[C], C]:
        """Register a class under ``name``: the decorator of the class.

        Raises:
            OptionError: another class has this name, or the class is no frozen dataclass.
        """

        def register(cls: C) -> C:
            self._check_dataclass(name, cls)
            known = self.classes.get(name)
            if known is not None and _path(known) != _path(cls):
                raise self._error(
                    f"{self.noun} {name!r} is registered twice, by {_path(known)} and {_path(cls)}: rename one"
                )
            cls.name = name
            self.classes[name] = checking_numbers(cls)
            return cls

        return register

    def _check_dataclass(self, name: str, cls: type[Any]) -> None:
        """Raise unless a class is a frozen dataclass itself: one that only inherits its fields would hide options."""
        parameters = vars(cls).get("__dataclass_params__")
        if parameters is None or not parameters.frozen:
            found = "no dataclass" if parameters is None else "a dataclass that is not frozen"
            raise self._error(
                f"{self.noun} {name!r} was registered with {_path(cls)}, which is {found}: "
                f"write @dataclass(frozen=True) between @register_{self.noun} and the class"
            )

    def _use(self, entry: EntryPoint) -> None:
        """Import an entry point's module, which registers the class of that name."""
        before = set(self.classes)
        try:
            entry.load()
            self._check_registered(entry, before)
        except BaseException:
            self._forget_module(entry)
            raise

    def _forget_module(self, entry: EntryPoint) -> None:
        """Forget what a failed entry point's module registered; if it was imported, not what others name."""
        others = {other.name for other in entry_points(group=self.package)} if entry.module in sys.modules else set()
        own = [name for name, cls in self.classes.items() if cls.__module__ == entry.module]
        for name in own:
            if name == entry.name or name not in others:
                del self.classes[name]

    def _check_registered(self, entry: EntryPoint, before: set[str]) -> None:
        cls = self.classes.get(entry.name)
        if cls is None:
            added = (name for name, other in self.classes.items() if _is_new(name, other, before, entry))
            others = ", ".join(map(repr, sorted(added)))
            found = (
                f", but {others}: give the entry point that name" if others else ": decorate its class with that name"
            )
            raise self._error(f"{entry.value} registers no {self.noun} {entry.name!r}{found}")
        if cls.__module__.startswith(f"{self.package}.") and not entry.module.startswith(f"{self.package}."):
            raise self._error(f"pellucid has a {self.noun} {entry.name!r} of its own: rename the other one")

    def load(self) -> None:
        """Import all classes: the files of the package and what other packages add."""
        importlib.import_module(self.package)  # by name: core imports no method
        self.plugins.load()

    def registered(self) -> Mapping[str, type[T]]:
        """All classes by name."""
        self.load()
        return self.classes

    @contextmanager
    def forgetting(self, cls: type[T]) -> Iterator[None]:
        """Forget a registered class afterwards: for tests of one's own."""
        try:
            yield
        finally:  # its name may be that of a base class until it is registered
            self.classes.pop(cls.name, None)  # type: ignore[attr-defined]  # set by register

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.registered())

    def failures(self) -> list[str]:
        """Why classes of other packages were left out, one line each."""
        self.load()
        return list(self.plugins.failures.values())

    def find(self, name: str) -> type[T]:
        """The class of a name. Broken entry points are reported by ``PellucidWarning``: that of the name, or all.

        Raises:
            OptionError: nothing has that name.
        """
        known = self.registered()
        for failure in self.plugins.failures_of(name, is_known=name in known):
            warn(failure)
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(self.names())}"
            raise self._error(f"{self.noun} {name!r} was asked for; no {self.noun} has that name{hint}")
        return known[name]

    def build(self, name: str, texts: Mapping[str, str]) -> T:
        """An instance with options given as text, as on the command line."""
        cls = self.find(name)
        hints = get_type_hints(cls)
        unknown = [key for key in texts if key not in options(cls)]
        if unknown:
            known = ", ".join(options(cls)) or "none"
            raise OptionError(f"option {unknown[0]!r} was set; {self.noun} {name!r} has the options: {known}")
        return cls(**{key: self._parsed(key, text, hints[key]) for key, text in texts.items()})

    def _parsed(self, key: str, text: str, hint: Any) -> Any:
        if hint is bool:
            return _parsed_bool(key, text)
        if isinstance(hint, type) and any(hint in cls.__mro__ for cls in self.classes.values()):
            return self.find(text)()
        if isinstance(hint, UnionType):  # X | None
            return None if text.lower() == "none" else self._parsed(key, text, get_args(hint)[0])
        if get_origin(hint) is Literal and text not in get_args(hint):
            raise OptionError(f"option {key}={text} was set; it may be {', '.join(map(str, get_args(hint)))}")
        if hint in (int, float):
            try:
                return hint(text)
            except ValueError:
                raise OptionError(f"option {key}={text} was set; it must be a number ({hint.__name__})") from None
        return text


def _is_new(name: str, cls: type[Any], before: set[str], entry: EntryPoint) -> bool:
    return name not in before or cls.__module__ == entry.module


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _parsed_bool(key: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise OptionError(f"option {key}={text} was set; it must be true or false")
    return text.lower() == "true"


def options(cls: type[Any]) -> dict[str, Any]:
    """The options of a class with their defaults."""
    return {field.name: None if field.default is MISSING else field.default for field in fields(cls)}


def import_files(package: str, path: Any) -> None:
    """Import every file of a package, which registers its classes."""
    for module in pkgutil.iter_modules(path, f"{package}."):
        importlib.import_module(module.name)


def summary(cls: type[Any]) -> str:
    """The first line of the module of a class: name, paper, what it does."""
    doc = sys.modules[cls.__module__].__doc__ or cls.__doc__ or ""
    return doc.strip().splitlines()[0] if doc.strip() else ""
