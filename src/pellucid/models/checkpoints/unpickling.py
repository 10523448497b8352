"""Read a pickle without running anything that it asks for.

A pickle is a little program: it names functions and calls them. Here every name but a handful gives an
inert stand-in, the handful are our own functions below, and no object's state is ever set.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import IO, Any, ClassVar

import torch
from torch import Tensor


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
        """Give itself."""
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Take an item and drop it."""

    def extend(self, items: object) -> None:
        """Take items and drop them."""

    def add(self, item: object) -> None:
        """Take an item and drop it."""


def rebuild_tensor(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    """Lay a tensor over a storage that was read; ``UnpicklingError`` if it reaches beyond."""
    return _view(storage, offset, size, stride, storage.dtype)


def rebuild_tensor_v3(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any) -> Tensor:
    """Lay a tensor of the given dtype over an untyped storage; ``UnpicklingError`` if it reaches beyond."""
    dtype = rest[2]
    return _view(storage, offset, size, stride, dtype)


def _view(storage: Any, offset: int, size: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    # Tensor.set_ would enlarge a storage that is too small, to any size that the file asks for.
    empty = any(length == 0 for length in size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    room = storage.nbytes() // dtype.itemsize
    if min(offset, *size, *stride, 0) < 0 or (not empty and last >= room):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    with torch.no_grad():
        return torch.empty(0, dtype=dtype).set_(storage.untyped(), offset, tuple(size), tuple(stride))


def rebuild_parameter(data: Any, *_: object) -> Any:
    """Give a parameter's tensor."""
    return data


def rebuild_from_type(function: Callable[..., Any], _: object, arguments: tuple[Any, ...], *__: object) -> Any:
    """Give the plain tensor of a tensor subclass. ``function`` came through ``find_class`` as well."""
    return function(*arguments)


def ordered(items: Any = ()) -> dict[Any, Any]:
    """Give a plain dict for an OrderedDict."""
    return dict(items)


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


# The pure-Python unpickler: the one in C lets no opcode and no persistent id be checked on every Python.
class SafeUnpickler(pickle._Unpickler):
    """An unpickler that runs nothing from its file.

    ``room`` gives the bytes of each storage that the file really holds, or None where that is not known
    beforehand; ``total`` bounds every storage.
    """

    room: ClassVar[Mapping[str, int] | None] = None
    total: ClassVar[int] = 0
    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Give one of our own functions, a dtype, or a stand-in. Nothing is ever imported."""
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        if (module, name) in STORAGES:
            return torch.UntypedStorage
        if module == "torch" and isinstance(vars(torch).get(name), torch.dtype):
            return vars(torch)[name]
        return type("Inert", (Inert,), {"asked": f"{module}.{name}"})

    def load_build(self) -> None:
        """Drop the state that an object asks to be given: setting it could change what Python runs."""
        self.stack.pop()  # type: ignore[attr-defined]

    dispatch[pickle.BUILD[0]] = load_build  # type: ignore[assignment]

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
        kind, key, _, count = asked[1:5]
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        limit = self.total if self.room is None else self.room.get(str(key), -1)
        if not 0 <= count * dtype.itemsize <= limit:
            raise pickle.UnpicklingError(f"storage {key} is larger than the file says")
        return self._torch_fetch(asked)


def safe_pickle(room: Mapping[str, int] | None, total: int) -> SimpleNamespace:
    """Give what ``torch.load`` takes as its ``pickle_module``, for one file."""
    unpickler = type("SafeUnpickler", (SafeUnpickler,), {"room": room, "total": total})

    def load(file: IO[bytes], encoding: str = "utf-8") -> Any:
        return unpickler(file, encoding=encoding).load()

    return SimpleNamespace(__name__="pellucid.safe_pickle", Unpickler=unpickler, load=load)
