"""Read a pickle without running what it names.

A pickle is a small program: it names functions and calls them. Here every name but a few gives an inert
stand-in, those few are the functions below, and no object's state is ever set.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

MAX_COPIED = 10_000_000  # elements that one file may copy from its own earlier objects
MAX_AXES = 64
STAND_IN = 100  # the cost of a new class in that budget


class Inert:
    """A stand-in for whatever a pickle names: takes every call, item and state, and does nothing."""

    asked: ClassVar[str] = "an object"

    # Any arguments may come, by position or by name: they belong to a class that is never looked up.
    def __new__(cls, *_: object, **__: object) -> Inert:
        """Make an empty stand-in."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> Inert:
        """Return itself."""
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item and drop it."""

    def extend(self, items: object) -> None:
        """Take items and drop them."""

    def add(self, item: object) -> None:
        """Take an item and drop it."""


PLAIN = (str, bytes, int, float, type(None), Inert)


def refuse(reason: str) -> pickle.UnpicklingError:
    """Return the error for a program that no honest file contains."""
    return pickle.UnpicklingError(reason)


def check_key(key: object) -> None:
    """Refuse a key that is not plain, nor a short tuple of plain ones.

    Nested tuples can take exponential time to hash, and large integers collide.
    """
    parts = key if isinstance(key, tuple) and len(key) <= 16 else (key,)
    if not all(isinstance(part, PLAIN) for part in parts) or any(_is_large(part) for part in parts):
        raise refuse(f"a key of an entry is a {type(key).__name__}; text or a number of 64 bits was expected")


def _is_large(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > 64


def check_keys(keys: Iterable[object]) -> None:
    """Refuse keys that are not plain."""
    for key in keys:
        check_key(key)


def rebuild_tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    """Lay a tensor over a storage that was read; ``UnpicklingError`` if it reaches beyond."""
    return _view(storage, offset, size, stride, storage.dtype)


def rebuild_tensor_v3(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any) -> Tensor:
    """Lay a tensor of the given dtype over an untyped storage; ``UnpicklingError`` if it reaches beyond."""
    dtype = rest[2]
    return _view(storage, offset, size, stride, dtype)


def _view(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    # Tensor.set_ would enlarge a storage that is too small to any size that the file states.
    if len(size) > MAX_AXES or not all(isinstance(number, int) for number in (offset, *size, *stride)):
        raise refuse("a tensor's axes are not plain numbers")
    empty = any(length == 0 for length in size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    room = storage.nbytes() // dtype.itemsize
    if min(offset, *size, *stride, 0) < 0 or (not empty and last >= room):
        raise refuse("a tensor reaches beyond its storage")
    if math.prod(size) > room:  # a copy of it would need more memory than the file
        raise refuse("a tensor repeats its storage, make it contiguous")
    with torch.no_grad():
        return torch.empty(0, dtype=dtype).set_(storage.untyped(), offset, tuple(size), tuple(stride))


def rebuild_parameter(data: Any, *_: object) -> Any:
    """Return a parameter's tensor."""
    return data


def rebuild_from_type(function: Callable[..., Any], _: object, arguments: tuple[Any, ...], *__: object) -> Any:
    """Return the plain tensor of a tensor subclass. ``function`` came through ``find_class`` as well."""
    if function not in (rebuild_tensor, rebuild_tensor_v3, rebuild_parameter) and not _is_inert(function):
        raise refuse("a tensor is made by a function that makes no tensors")
    return function(*arguments)


def _is_inert(made: object) -> bool:
    return isinstance(made, Inert) or (isinstance(made, type) and issubclass(made, Inert))


def ordered(items: Any = ()) -> dict[Any, Any]:
    """Return a plain dict for an OrderedDict."""
    pairs = list(items)
    check_keys(pair[0] for pair in pairs)
    return dict(pairs)


ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): ordered,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): rebuild_from_type,
}
STORAGES = {("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage")}


class _Bounded:
    """A file from which no more bytes are read than it can contain."""

    def __init__(self, file: IO[bytes], total: int) -> None:
        self._file, self._total = file, total
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        """Read; the file's own read would allocate a buffer of the stated size."""
        if count > self._total:
            raise refuse("more bytes are asked for than the file has")
        return self._file.read(count)


# The pure-Python unpickler: in the C one, opcodes and persistent ids cannot be checked on every Python.
class SafeUnpickler(pickle._Unpickler):
    """An unpickler that runs nothing from its file.

    ``room`` is the number of bytes of each storage in the file, or None where that is not known
    beforehand; ``total`` bounds every storage.
    """

    room: ClassVar[Mapping[str, int] | None] = None
    total: ClassVar[int] = 0
    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    # Python's own, which its type hints leave out.
    stack: list[Any]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: IO[bytes], **settings: Any) -> None:
        super().__init__(_Bounded(file, self.total), **settings)
        self._copied = 0
        self._claimed: dict[str | int, int] = {}
        self._free = self.total

    def find_class(self, module: str, name: str) -> Any:
        """Return one of our own functions, a dtype, or a stand-in. Nothing is ever imported."""
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if (module, name) in STORAGES:
            return torch.UntypedStorage
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        self._charge(STAND_IN)
        return type("Inert", (Inert,), {"asked": f"{module[:80]}.{name[:80]}"})

    def _charge(self, count: int) -> None:
        self._copied += count
        if self._copied > MAX_COPIED:
            raise refuse(f"more than {MAX_COPIED:,} elements are copied")

    def _call(self, function: Any, arguments: Sequence[Any]) -> Any:
        """Call one of the functions above or a stand-in, and nothing else that the program names."""
        if not _is_inert(function) and function not in ALLOWED.values():
            raise refuse(f"a {type(function).__name__} is called")
        held = (part for part in arguments if isinstance(part, list | tuple | dict))
        self._charge(1 + len(arguments) + sum(len(part) for part in held))
        return function(*arguments)

    def load_reduce(self) -> None:
        """Call what is allowed."""
        arguments = self.stack.pop()
        self.stack.append(self._call(self.stack.pop(), arguments))

    def load_newobj(self) -> None:
        """Make a stand-in."""
        self.load_reduce()

    def load_newobj_ex(self) -> None:
        """Make a stand-in, without its keyword arguments."""
        self.stack.pop()
        self.load_reduce()

    def _instantiate(self, kind: Any, arguments: Any) -> None:
        self.stack.append(self._call(kind, arguments))

    def load_bytearray8(self) -> None:
        """Read the bytes before memory is allocated for them."""
        count = int.from_bytes(self.read(8), "little")
        self.stack.append(bytearray(self.read(count)))

    def load_setitem(self) -> None:
        """Set one entry, of a dict or a stand-in, under a plain key."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        """Set several entries."""
        self._set_items(self.pop_mark())

    def load_dict(self) -> None:
        """Make a dict of entries."""
        items = self.pop_mark()
        self.stack.append({})
        self._set_items(items)

    def _set_items(self, items: Sequence[Any]) -> None:
        held = self.stack[-1]
        if not isinstance(held, dict | Inert):
            raise refuse(f"an entry is set in a {type(held).__name__}")
        check_keys(items[::2])
        for key, value in zip(items[::2], items[1::2], strict=True):
            held[key] = value

    def load_frozenset(self) -> None:
        """Make a frozen set of plain members."""
        items = self.pop_mark()
        check_keys(items)
        self.stack.append(frozenset(items))

    def load_additems(self) -> None:
        """Add plain members to a set or a stand-in."""
        items = self.pop_mark()
        check_keys(items)
        for item in items:
            self.stack[-1].add(item)

    def load_build(self) -> None:
        """Drop the state that an object asks to be given: setting it could change what Python runs."""
        self.stack.pop()

    @property
    def persistent_load(self) -> Callable[[Any], Any]:
        """The function that fetches a storage, behind a check of what is asked for."""
        return self._fetch

    @persistent_load.setter
    def persistent_load(self, fetch: Callable[[Any], Any]) -> None:
        self._torch_fetch = fetch

    def _fetch(self, asked: Any) -> Any:
        if asked[0] in ("module", b"module"):
            return asked[1]  # torch would compare the class with its source, and may write a patch file
        kind, key, _, count, *view = asked[1:]
        if not isinstance(key, str | int) or not isinstance(count, int):
            raise refuse(f"a storage is named by a {type(key).__name__}, sized by a {type(count).__name__}")
        check_keys([key, *(part[0] for part in view if part)])  # torch looks a view up by its first entry
        size = count * (torch.uint8 if kind is torch.UntypedStorage else kind.dtype).itemsize
        if not 0 <= size <= self._limit(key):
            raise refuse(f"storage {str(key)[:40]} is larger than the file says")
        if key not in self._claimed:
            self._claimed[key] = size
            self._free -= size
        return self._torch_fetch(asked)

    def _limit(self, key: str | int) -> int:
        """Return the bytes that a storage may have: its own entry's, or what others leave of the whole file."""
        if self.room is not None:
            return self.room.get(str(key), -1)
        return self._claimed.get(key, self._free)


OPCODES = [
    "BUILD",
    "REDUCE",
    "NEWOBJ",
    "NEWOBJ_EX",
    "BYTEARRAY8",
    "SETITEM",
    "SETITEMS",
    "DICT",
    "FROZENSET",
    "ADDITEMS",
]
SafeUnpickler.dispatch.update(
    {getattr(pickle, name)[0]: getattr(SafeUnpickler, f"load_{name.lower()}") for name in OPCODES}
)


def safe_pickle(room: Mapping[str, int] | None, total: int) -> SimpleNamespace:
    """Return the ``pickle_module`` of ``torch.load`` for one file."""
    unpickler = type("SafeUnpickler", (SafeUnpickler,), {"room": room, "total": total})

    def load(file: IO[bytes], encoding: str = "utf-8") -> Any:
        return _plain(unpickler(file, encoding=encoding).load())

    return SimpleNamespace(__name__="pellucid.safe_pickle", Unpickler=unpickler, load=load)


def _plain(found: Any) -> Any:
    """Return what torch reads besides the weights; it hashes and prints these, and would hang on nested ones."""
    if isinstance(found, dict):
        return {}  # the writer's machine, of which torch reads nothing
    if not isinstance(found, int):  # torch's magic number has 80 bits
        check_keys(found if isinstance(found, list) else [found])
    return found
