"""What a pickle may make: tensors of a weights file, plain containers, and inert stand-ins for everything else."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

MAX_AXES = 64
MAX_ARGUMENTS = 16


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
    return function(*bounded(arguments))


def bounded(arguments: Any) -> tuple[Any, ...]:
    """Return the arguments of a call; ``UnpicklingError``: they are more than any function takes."""
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
