"""Search of Python values for a network's modules, and copies of containers with their items replaced."""

from __future__ import annotations

import functools
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

PLAIN = frozenset((type(None), bool, int, float, complex, str, bytes, type, torch.dtype, torch.device, torch.Size))
"""Kinds of values that hold nothing."""
EMPTY = frozenset((dict, OrderedDict, list, set))
"""Kinds of a module's own dictionaries and lists."""
_CONTAINERS = (dict, list, tuple, set, frozenset, deque, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)
_OTHERS = ("builtins", "torch", "numpy", "threading", "_thread", "weakref")
"""Packages whose objects hold no modules of a network."""
_MOST_OBJECTS = 20_000
"""At most this many values are searched for one attribute: a larger one holds data, not modules."""


_SLOTS: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()
"""The slots of classes: each explanation asks for those of each module. A class may hold a whole network."""


class Leads:
    """Whether a value references one of these objects, directly or not; values that do not are remembered."""

    def __init__(self, known: frozenset[int]) -> None:
        self._known = known
        self._dead: set[int] = set()
        self._kept: list[Any] = []

    def __call__(self, value: Any) -> bool:
        """Search the value until one of the objects is found."""
        seen: dict[int, Any] = {}
        queue = [value]
        while queue and len(seen) < _MOST_OBJECTS:
            one = queue.pop()
            if id(one) in self._known:
                return True
            if type(one) in PLAIN or isinstance(one, Tensor) or id(one) in seen or id(one) in self._dead:
                continue
            seen[id(one)] = one
            queue.extend(parts(one))
        self._dead.update(seen)
        self._kept.extend(seen.values())  # kept alive, so that no remembered id is reused
        return False


def parts(value: Any) -> Iterator[Any]:
    """The values that a value holds and that may be or hold modules."""
    if is_container(value):
        items = chain(value.keys(), value.values()) if hasattr(value, "keys") else value
        yield from (item for item in list(items) if type(item) not in PLAIN)
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, types.FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, weakref.ReferenceType):
        yield value()
    elif isinstance(value, RemovableHandle):
        yield value.hooks_dict_ref()
    if isinstance(value, nn.Module) or is_object(value):
        yield from list(getattr(value, "__dict__", {}).values())
        yield from (item for _, item in slots(value))


def _function_parts(value: types.FunctionType) -> Iterator[Any]:
    for cell in value.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # empty
            continue
    yield value.__defaults__
    yield value.__kwdefaults__
    yield vars(value)
    names = (value.__globals__.get(name) for name in value.__code__.co_names)
    yield from (item for item in names if isinstance(item, nn.Module))


def is_container(value: Any) -> bool:
    """Whether a value is one of Python's containers or of a subclass."""
    return isinstance(value, _CONTAINERS)


def is_object(value: Any) -> bool:
    """Whether a value is of a user's class, whose objects may hold modules."""
    return type(value).__module__.partition(".")[0] not in _OTHERS and not isinstance(value, (type, types.ModuleType))


def slots(value: Any) -> Iterator[tuple[str, Any]]:
    """The slots of an object that are filled; a module's ``__getattr__`` would find submodules in empty ones."""
    for name in _slot_names(type(value)):
        with suppress(AttributeError):
            yield name, object.__getattribute__(value, name)


def _slot_names(kind: type) -> tuple[str, ...]:
    if kind not in _SLOTS:
        _SLOTS[kind] = tuple(name for base in kind.__mro__ for name in _stated(base))
    return _SLOTS[kind]


def _stated(base: type) -> Iterator[str]:
    """The slots that a class itself states, by the names of their attributes: Python mangles private ones."""
    stated = vars(base).get("__slots__", ())
    for name in (stated,) if isinstance(stated, str) else stated:
        if name not in ("__dict__", "__weakref__"):
            private = name.startswith("__") and not name.endswith("__") and base.__name__.strip("_")
            yield f"_{base.__name__.lstrip('_')}{name}" if private else name


def bare(value: Any) -> Any:
    """A new object of a value's class with the value's slots, made without running any code of the class.

    Its ``__del__`` does nothing: the class's own might release the user's resources, such as an open file.
    """
    kind: Any = type(value)
    made: Any = _undeleted(kind) if hasattr(kind, "__del__") else kind
    try:
        new: Any = object.__new__(made)
    except TypeError:  # a class derived from one that is written in C
        new = made.__new__(made)
    for name, item in slots(value):
        object.__setattr__(new, name, item)
    return new


@functools.cache
def _undeleted(kind: type) -> type:
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__slots__": ()}
    meta: Any = type(kind)
    undeleted: type = meta(kind.__name__, (kind,), {**named, "__del__": lambda _self: None})
    return undeleted


def rebuilt(value: Any, of: Callable[[Any], Any], know: Callable[[Any], Any]) -> Any:
    """A container of the same type with each item replaced by ``of(item)``; None for a value that is no container.

    ``know`` is called with a container that may hold itself before its items are replaced.
    """
    kind: Any = type(value)
    if isinstance(value, tuple):
        items = [of(item) for item in value]
        return know(kind._make(items) if hasattr(kind, "_make") else kind(items))
    if isinstance(value, frozenset):
        return know(kind(of(item) for item in value))
    if not is_container(value):
        return None
    new: Any = know(_empty(value))
    if hasattr(value, "keys"):
        new.update([(_key(key, of), of(item)) for key, item in list(value.items())])
    else:
        (new.update if isinstance(value, set) else new.extend)([of(item) for item in list(value)])
    return new


def _empty(value: Any) -> Any:
    """An empty container of the same type."""
    kind: Any = type(value)
    if isinstance(value, defaultdict):
        return kind(value.default_factory)
    if isinstance(value, deque):
        return kind(maxlen=value.maxlen)
    if isinstance(value, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)) or kind in EMPTY:
        return kind()
    new = kind.__new__(kind)
    getattr(new, "__dict__", {}).update(getattr(value, "__dict__", {}))
    return new


def _key(key: Any, of: Callable[[Any], Any]) -> Any:
    return key if type(key) in PLAIN else of(key)
