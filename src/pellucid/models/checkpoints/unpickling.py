"""Read a pickle without running what it names.

A pickle is a small program: it names functions and calls them. Here every name but a few gives an inert
stand-in, those few are the functions below, and no object's state is ever set. The program's steps, its
numbers and what it copies are bounded, by the length of the program where that says how much is honest.
"""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

MAX_STEPS = 4_000_000
MAX_COPIED = 4_000_000
"""Elements that one program may copy from its own earlier objects; fewer for a short one."""
MAX_REPEATED = 8  # times the bytes of the file that all its tensors may have together
MAX_AXES = 64
MAX_ARGUMENTS = 16
MAX_BITS = 512  # of a whole number; a product of longer ones takes for ever
STAND_IN = 100  # the cost of a new class among what is copied
TENSOR = 32  # and of a tensor, which no program makes in fewer bytes


class Inert:
    """A stand-in for whatever a pickle names: takes every call, item and state, and does nothing.

    The state that it was given is kept beside it, where that is a dictionary: a pickled module's has its weights.
    """

    __slots__ = ("state",)
    asked: ClassVar[str] = "an object"

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {}


@dataclass(frozen=True, eq=False)
class Stored:
    """The bytes of a storage in the file, and the type of its elements."""

    memory: torch.UntypedStorage
    dtype: torch.dtype


def refuse(reason: str) -> pickle.UnpicklingError:
    """Return the error for a program that no honest file contains."""
    return pickle.UnpicklingError(reason)


def is_key(key: object) -> bool:
    """Whether an entry is kept under this key: text, or a whole number of 64 bits.

    Nobody reads others, and they may take for ever to hash or to compare: nested tuples, or thousands of one hash.
    """
    return isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= 64)


def rebuild_tensor(stored: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    """Lay a tensor over a storage that was read; ``UnpicklingError`` if it reaches beyond."""
    return _view(stored, offset, size, stride, getattr(stored, "dtype", None))


def rebuild_tensor_v3(stored: Any, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any) -> Tensor:
    """Lay a tensor of the given dtype over an untyped storage; ``UnpicklingError`` if it reaches beyond."""
    return _view(stored, offset, size, stride, rest[2])


def _view(stored: Any, offset: int, size: Sequence[int], stride: Sequence[int], dtype: Any) -> Tensor:
    # Tensor.set_ would enlarge a storage that is too small to any size that the file states.
    if not isinstance(stored, Stored) or not isinstance(dtype, torch.dtype):
        raise refuse("a tensor has no storage of its own")
    axes = all(isinstance(each, list | tuple) and len(each) <= MAX_AXES for each in (size, stride))
    if not axes or not all(isinstance(number, int) for number in (offset, *size, *stride)):
        raise refuse("a tensor's axes are not plain numbers")
    empty = any(length == 0 for length in size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    room = stored.memory.nbytes() // dtype.itemsize
    if min(offset, *size, *stride, 0) < 0 or (not empty and last >= room):
        raise refuse("a tensor reaches beyond its storage")
    if math.prod(size) > room:  # a copy of it would need more memory than the file
        raise refuse("a tensor repeats its storage, make it contiguous")
    with torch.no_grad():
        return torch.empty(0, dtype=dtype).set_(stored.memory, offset, tuple(size), tuple(stride))


def rebuild_parameter(data: Any, *_: object) -> Any:
    """Return a parameter's tensor."""
    return data


def rebuild_from_type(function: Any, _: object, arguments: Any, *__: object) -> Any:
    """Return the plain tensor of a tensor subclass. ``function`` came through ``find_class`` as well."""
    if is_stand_in(function):
        return Inert()
    if not any(function is each for each in (rebuild_tensor, rebuild_tensor_v3, rebuild_parameter)):
        raise refuse("a tensor is made by a function that makes no tensors")
    return function(*_bounded(arguments))


def _bounded(arguments: Any) -> tuple[Any, ...]:
    if not isinstance(arguments, tuple) or len(arguments) > MAX_ARGUMENTS:
        raise refuse("a function is called with more than it takes")
    return arguments


def is_stand_in(made: object) -> bool:
    """Whether an object is a stand-in, or a class of them."""
    return isinstance(made, Inert) or (isinstance(made, type) and issubclass(made, Inert))


def ordered(items: Any = ()) -> dict[Any, Any]:
    """Return a plain dict for an OrderedDict."""
    pairs = sequence(items)
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise refuse("an entry of a dictionary is no key with a value")
    return {key: value for key, value in pairs if is_key(key)}


def sequence(items: Any = ()) -> tuple[Any, ...]:
    """Return a tuple of a list or tuple; ``UnpicklingError``: it is something else, as text of a million letters."""
    if not isinstance(items, list | tuple):
        raise refuse(f"a {type(items).__name__} is taken for a sequence")
    return tuple(items)


def members(items: Any = ()) -> set[Any]:
    """Return a set of plain members, as protocol 2 writes one."""
    return set(filter(is_key, sequence(items)))


ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): ordered,
    ("__builtin__", "set"): members,
    ("builtins", "set"): members,
    ("torch", "Size"): sequence,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): rebuild_from_type,
}


@cache
def storages() -> Mapping[str, torch.dtype]:
    """The types of the elements of torch's storages, by the names of their classes; bytes where none is said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the classes are deprecated, their names are still written
        kinds = {name: getattr(kind, "dtype", None) for name, kind in vars(torch).items() if name.endswith("Storage")}
    return {name: kind if isinstance(kind, torch.dtype) else torch.uint8 for name, kind in kinds.items()}


class _Bounded:
    """A file from which no more bytes are read than it can contain."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file, self._length = file, length
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        """Read; the file's own read would allocate a buffer of the stated size."""
        if count > self._length:
            raise refuse("more bytes are asked for than the file has")
        return self._file.read(count)


class _Counting(dict[int, Callable[..., None]]):
    """The opcodes' functions; each that is looked up is a step of the program."""

    steps = 0

    def __getitem__(self, code: int) -> Callable[..., None]:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise refuse(f"more than {MAX_STEPS:,} steps are taken")
        if code not in self:
            raise refuse(f"{code} is no step of a pickle")
        return super().__getitem__(code)


# The pure-Python unpickler: in the C one, opcodes and persistent ids cannot be checked on every Python.
class SafeUnpickler(pickle._Unpickler):
    """An unpickler that runs nothing from its file.

    ``length`` is the number of bytes that the program can have, ``total`` that of its file. ``fetch`` returns a
    storage: it gets what the program asks for after the word "storage", and checks it. Without it there are none.
    """

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    # Python's own, which its type hints leave out.
    stack: list[Any]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self, file: IO[bytes], length: int, total: int, fetch: Callable[[Sequence[Any]], Stored] | None = None
    ) -> None:
        super().__init__(_Bounded(file, length), encoding="utf-8")
        self.dispatch: _Counting = _Counting(type(self).dispatch)  # type: ignore[misc]  # counted for each program
        self._may_copy = min(MAX_COPIED, 10_000 + 2 * length)
        self._copied = 0
        self._bytes, self._may_repeat = 0, MAX_REPEATED * total
        self._fetch = fetch
        self._stand_ins: dict[tuple[str, str], type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return one of our own functions, a dtype, or a stand-in. Nothing is ever imported."""
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if name in storages() and module.partition(".")[0] == "torch":
            return storages()[name]
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        return self._stand_in(module, name)

    def _stand_in(self, module: str, name: str) -> type[Inert]:
        if (module, name) not in self._stand_ins:
            self._charge(STAND_IN)
            members = {"__slots__": (), "asked": f"{module[:80]}.{name[:80]}"}
            self._stand_ins[module, name] = type("Inert", (Inert,), members)
        return self._stand_ins[module, name]

    def _charge(self, count: int) -> None:
        self._copied += count
        if self._copied > self._may_copy:
            raise refuse(f"more than {self._may_copy:,} elements are copied")

    def _call(self, function: Any, arguments: Any) -> Any:
        """Call one of the functions above or a stand-in, and nothing else that the program names."""
        if is_stand_in(function):
            return function() if isinstance(function, type) else function
        if not any(function is each for each in ALLOWED.values()):
            raise refuse(f"a {type(function).__name__} is called")
        self._charge(sum(len(part) for part in _bounded(arguments) if isinstance(part, list | tuple)))
        made = function(*arguments)
        if isinstance(made, Tensor):
            self._charge(TENSOR)
            self._bytes += made.nbytes
            if self._bytes > self._may_repeat:
                raise refuse("the tensors repeat the same bytes, save each once")
        return made

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
        self.stack.append(self._call(kind, tuple(arguments)))

    def load_bytearray8(self) -> None:
        """Read the bytes before memory is allocated for them."""
        count = int.from_bytes(self.read(8), "little")
        self.stack.append(bytearray(self.read(count)))

    def load_append(self) -> None:
        """Append an item to a list."""
        item = self.stack.pop()
        self._extend([item])

    def load_appends(self) -> None:
        """Append several items."""
        self._extend(self.pop_mark())

    def _extend(self, items: Sequence[Any]) -> None:
        if isinstance(self._held("an item is appended to", list), list):
            self.stack[-1].extend(items)

    def _held(self, what: str, kind: type) -> Any:
        """Return the object that something is put into: of this kind, or a stand-in, which drops it."""
        if not isinstance(self.stack[-1], kind) and not is_stand_in(self.stack[-1]):
            raise refuse(f"{what} a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

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
        held = self._held("an entry is set in", dict)
        entries = {key: value for key, value in zip(items[::2], items[1::2], strict=True) if is_key(key)}
        if isinstance(held, dict):
            held.update(entries)

    def load_frozenset(self) -> None:
        """Make a frozen set of plain members."""
        members = frozenset(filter(is_key, self.pop_mark()))
        self.stack.append(members)

    def load_additems(self) -> None:
        """Add plain members to a set or a stand-in."""
        items = self.pop_mark()
        held = self._held("a member is added to", set)
        if isinstance(held, set):
            held.update(filter(is_key, items))

    def load_build(self) -> None:
        """Keep the state that an object asks to be given beside it: to set it could change what Python runs."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert) and isinstance(state, dict):
            self.stack[-1].state = state

    def persistent_load(self, asked: Any) -> Any:
        """Return a storage."""
        if not isinstance(asked, tuple) or not asked or not isinstance(asked[0], str | bytes):
            raise refuse("something outside the program is asked for that is no storage")
        if asked[0] in ("module", b"module") and len(asked) > 1:
            return asked[1]  # torch compares the class with its source here
        if asked[0] not in ("storage", b"storage") or self._fetch is None or not 5 <= len(asked) <= 6:
            raise refuse("something outside the program is asked for that is no storage")
        return self._fetch(asked[1:])


def _checked(read: Callable[[SafeUnpickler], None]) -> Callable[[SafeUnpickler], None]:
    """Refuse a whole number of more bits than any honest one, after it was read: that takes no time, to use it does."""

    def load(self: SafeUnpickler) -> None:
        read(self)
        number = self.stack[-1]
        if isinstance(number, int) and number.bit_length() > MAX_BITS:
            raise refuse(f"a whole number of more than {MAX_BITS} bits is read")

    return load


OPCODES = [
    "APPEND",
    "APPENDS",
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
NUMBERS = ["INT", "LONG", "LONG1", "LONG4"]
SafeUnpickler.dispatch.update(
    {getattr(pickle, name)[0]: getattr(SafeUnpickler, f"load_{name.lower()}") for name in OPCODES}
    | {getattr(pickle, name)[0]: _checked(getattr(SafeUnpickler, f"load_{name.lower()}")) for name in NUMBERS}
)
