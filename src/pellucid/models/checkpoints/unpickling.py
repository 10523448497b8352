"""Read a pickle without running what it names.

A pickle is a small program: it names functions and calls them. Here every name but a few gives an inert
stand-in, those few are the functions of ``rebuilding``, and no object's state is ever set. The program's steps, its
numbers and what it copies are bounded, by the length of the program where that says how much is honest.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from pellucid.models.checkpoints.rebuilding import (
    ALLOWED,
    Inert,
    Stored,
    bounded,
    is_key,
    is_stand_in,
    refuse,
    storages,
)

MAX_STEPS = 4_000_000
MAX_COPIED = 4_000_000
"""Elements that one program may copy from its own earlier objects; fewer for a short one."""
MAX_REPEATED = 8  # times the bytes of the file that all its tensors may have together
MAX_BITS = 512  # of a whole number; a product of longer ones takes for ever
STAND_IN = 100  # the cost of a new class among what is copied
TENSOR = 32  # and of a tensor, which no program makes in fewer bytes


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
        """Call one of the allowed functions or a stand-in, and nothing else that the program names."""
        if is_stand_in(function):
            return function() if isinstance(function, type) else function
        if not any(function is each for each in ALLOWED.values()):
            raise refuse(f"a {type(function).__name__} is called")
        self._charge(sum(len(part) for part in bounded(arguments) if isinstance(part, list | tuple)))
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
