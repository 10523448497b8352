"""Which tensors of a pass are made of the image, and which of the convolutions over it they depend on.

A function mode follows what the network makes of the image. A *look* is a convolution whose input is the image, or
something made of it, alone or together with outputs of other convolutions. Its output is marked with the look's number.
A convolution that only makes another image (an adapter of channels, a blur) is no look. So it is known on which looks
each run of a module depends: with one backbone for two views, each run depends on a look of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.core.functions import CONVOLUTIONS, of_input
from pellucid.core.rule import tensors_in
from pellucid.core.torch_private import FunctionMode
from pellucid.models.discovery.moving import mirrors, multiplies, samples, shifts, turns

Marks = frozenset[int]
"""0: made of the image; from 1: the looks that a tensor depends on; −1: ``REORDERED``; −2: ``TURNED``."""
IMAGE: Marks = frozenset((0,))
REORDERED: Marks = frozenset((-1,))
"""Positions may not be where they were: parts were picked, sorted, moved, mirrored or cropped."""
TURNED: Marks = frozenset((-2,))
"""The axes of a map are exchanged; exchanged again, they are not."""
MOVED = REORDERED | TURNED
NOTHING: Marks = frozenset()
Look = Callable[[Tensor, Tensor, bool], Tensor]
"""Called with a look's input, its weight, and whether the input is the image itself, not changed.

It returns the input that the convolution gets instead.
"""
_COPIES = frozenset((torch.clone, Tensor.clone, Tensor.detach, Tensor.contiguous, Tensor.to, Tensor.float, Tensor.half))
"""Functions whose result is the same image."""
_PICKING = frozenset(
    (
        *("gather", "index_select", "take", "take_along_dim", "masked_select", "one_hot", "__getitem__", "__setitem__"),
        *("scatter", "scatter_add", "scatter_reduce", "index_add", "index_copy", "index_put"),
    )
)
"""Functions that pick parts by an index, by name; those that write have the same with an underscore."""
_SORTING = frozenset(["sort", "topk", "msort"])
_LEAVING = frozenset(["tolist", "item", "numpy", "__array__", "__index__"])
"""Functions by which an index becomes numbers that cannot be followed."""
_NUMBERS = _LEAVING | {"__bool__", "__int__", "__float__"}
"""Functions by which values become numbers, on which anything may depend."""
_COMPARING = frozenset(
    (
        *("gt", "ge", "lt", "le", "eq", "ne", "greater", "greater_equal", "less", "less_equal", "not_equal"),
        *("__gt__", "__ge__", "__lt__", "__le__", "__eq__", "__ne__", "isclose", "searchsorted", "bucketize"),
        *("argmax", "argmin", "argsort", "nonzero", "argwhere", *_SORTING),
    )
)
"""Functions by which values of the image decide."""
_BENDING = frozenset(["grid_sample", "affine_grid"])
"""Functions that take pixels from where other values say."""
_FEW = 4
"""A convolution that keeps the size and makes so few channels makes another image, as an adapter or a blur does."""


class Dataflow(FunctionMode):
    """While this is open, tensors that are made of ``image`` are marked.

    ``lost`` says that the marks get lost on the way, as in NumPy: every convolution that depends on no look is one.
    ``strangers`` counts the convolutions whose input is not known to be made of the image. ``decides`` says whether
    anything depends on the image's values in a way that a pass of other values may not show.
    """

    def __init__(self, image: Tensor, look: Look, lost: bool = False) -> None:
        super().__init__()
        self._look = look
        self._unknown = IMAGE if lost else NOTHING
        self.strangers = 0
        self.decides = False
        self._is_paused = False
        self._marks: Any = WeakTensorKeyDictionary()
        self._marks[image] = IMAGE
        self._same: Any = WeakTensorKeyDictionary()
        self._same[image] = True
        self._looks = 0
        self._has_left = False
        self._grids: set[tuple[int, ...]] = set()
        self._shapes: set[tuple[int, ...]] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        if self._is_paused:
            return func(*args, **named)
        marks = self.of((args, named))
        if func in CONVOLUTIONS:
            self.strangers += not marks
            return self._convolved(marks or self._unknown, func, args, named)
        if not marks:
            return func(*args, **named)
        self.decides = self.decides or self._decides(func, args, named, marks)
        result = func(*args, **named)
        marks = marks | REORDERED if self._reordered(func, args, named, result) else marks
        marks = marks ^ TURNED if self._turned(func, args, result) else marks
        marks = marks - TURNED if multiplies(_name(func)) else marks  # a transposed matrix is no turned map
        self.mark(result, marks)
        if func in _COPIES and args[0] in self._same and isinstance(result, Tensor):
            self._same[result] = True
        if writes(func, args, result):
            self._mark_written(args, marks)
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While this is open, functions are not the network's."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def _convolved(self, marks: Marks, func: Any, args: Any, named: Any) -> Any:
        given, again = of_input(func, args, named)
        weight = named["weight"] if "weight" in named else args[1]
        own = (self.of(given) or self._unknown) - MOVED
        result: Any = again(given) if not own >= IMAGE or weight.shape[0] <= _FEW else None
        if own == IMAGE and result is not None and _makes_an_image(result, given, weight):
            marks = IMAGE
        elif own >= IMAGE:
            self._looks += 1
            marks = (marks - IMAGE) | {self._looks}
            del result  # of a volume, a second output is much memory
            result = again(self._look(given, weight, given in self._same))
        if marks:
            self.mark(result, marks)
            self._grids.add(tuple(result.shape[2:]))
            self._shapes.add(self._shape(result))
        return result

    def _decides(self, func: Any, args: Any, named: Any, marks: Marks) -> bool:
        """Whether a function lets values of the image, or of what is made of it, decide on what follows."""
        name = _name(func)
        if name in _BENDING:
            return bool(self.of((args[1:], named)))
        return name in _NUMBERS or (name in _COMPARING and marks == IMAGE)

    def _reordered(self, func: Any, args: Any, named: Any, result: Any) -> bool:
        """Whether a function may take positions from where they were.

        What is made of the image alone may be mirrored and cropped: its views are measured (``views``).
        """
        name = _name(func)
        indices = [each for each in tensors_in((args, named)) if not each.is_floating_point()]
        by_image = any(self.of(each) for each in indices)
        self._has_left = self._has_left or (name in _LEAVING and by_image)
        if name in _SORTING or (name in _PICKING and (by_image or self._has_left)):
            return True
        if not self.of((args, named)) - IMAGE - MOVED:
            return False
        is_shifted = bool(args) and self._is_map(args[0]) and shifts(name, args, named, result)
        return is_shifted or mirrors(name) or samples(name) or (name in _PICKING and bool(indices))

    def _turned(self, func: Any, args: Any, result: Any) -> bool:
        """Whether a function exchanges the axes of a map that a convolution made."""
        looks = self.of(args) - IMAGE - MOVED
        return bool(looks) and turns(_name(func), args[0], result) and self._shape(args[0]) in self._shapes

    def _is_map(self, given: Any) -> bool:
        """Whether something is a tensor with the sides of a convolution's output."""
        return isinstance(given, Tensor) and tuple(given.shape[2:]) in self._grids

    def _shape(self, given: Tensor) -> tuple[int, ...]:
        """The channels of a map and its sides, in whichever order: those of heads and their tokens are others."""
        return (*given.shape[1:2], *sorted(given.shape[2:]))

    def _mark_written(self, args: Any, marks: Marks) -> None:
        """A function wrote into its first argument, which may be a part of another tensor."""
        written = args[0] if args and isinstance(args[0], Tensor) else None
        if written is not None:
            self._same.pop(written, None)
            self.mark([one for one in (written, written._base) if one is not None], marks)

    def of(self, value: Any) -> Marks:
        """The marks of all tensors in a value."""
        return NOTHING.union(*(self._marks.get(tensor, NOTHING) for tensor in tensors_in(value)))

    def mark(self, value: Any, marks: Marks) -> None:
        """Mark all tensors in a value, in addition to the marks that they have."""
        for tensor in tensors_in(value):
            self._marks[tensor] = self._marks.get(tensor, NOTHING) | marks


def _name(func: Any) -> str:
    """A function's name, that of the one that writes as that of the one that does not."""
    name: str = getattr(func, "__name__", "")
    return name if name.endswith("__") else name.removesuffix("_")


def writes(func: Any, args: Any, result: Any) -> bool:
    """Whether a function wrote into its first argument: ``add_``, ``+=`` or an assignment to a part of it."""
    name = getattr(func, "__name__", "")
    is_operator = name.startswith("__i") and bool(args) and result is args[0]
    return name == "__setitem__" or is_operator or (name.endswith("_") and not name.endswith("__"))


def _makes_an_image(result: Tensor, given: Tensor, weight: Tensor) -> bool:
    """Whether a convolution keeps the size, but for the margin of its kernel, and makes few channels."""
    lost = [before - after for before, after in zip(given.shape[2:], result.shape[2:], strict=True)]
    keeps = all(0 <= pixels < kernel for pixels, kernel in zip(lost, weight.shape[2:], strict=True))
    return given.ndim > 3 and keeps and result.shape[1] <= _FEW
