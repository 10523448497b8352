"""Whether a function moves the positions of a feature map, so that its cells do not lie where they are drawn.

Mirrored, turned, rolled, shifted and cropped maps count, and maps that are sampled at other places. What seems to move
is measured afterwards (``fixed_order``), since it may be put back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pellucid.core.rule import tensors_in

_MIRRORING = frozenset(["flip", "fliplr", "flipud", "rot90"])
_CROPPING = frozenset(["__getitem__", "narrow", "chunk", "split", "tensor_split", "unsafe_chunk", "unsafe_split"])
_TURNING = frozenset(["transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "__get__"])
"""Functions that may exchange axes; ``__get__`` is an attribute, such as ``mT``."""
_SAMPLING = frozenset(["grid_sample", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
_PRODUCTS = frozenset(["matmul", "__matmul__", "bmm", "baddbmm", "einsum", "scaled_dot_product_attention"])
_MARGIN = 2
"""The cells by which a map may be cropped, shifted or rolled, as by the margin of a convolution."""


def samples(name: str) -> bool:
    """Whether a function, by its name, takes values of a map from places of its own, such as those of a box."""
    return name in _SAMPLING


def mirrors(name: str) -> bool:
    """Whether a function, by its name, mirrors a map."""
    return name in _MIRRORING


def shifts(name: str, args: tuple[Any, ...], named: Mapping[str, Any], result: Any) -> bool:
    """Whether a function crops, rolls, or pads a map (its first argument) unevenly along its axes."""
    if name in _CROPPING:
        return _crops(args[0], result)
    if name == "roll":
        return _rolls(args[0], *(_argument(args, named, at, key) for at, key in ((1, "shifts"), (2, "dims"))))
    return name == "pad" and _pads_unevenly(_argument(args, named, 1, "pad"))


def turns(name: str, given: Any, result: Any) -> bool:
    """Whether a function exchanges the axes of a map (B, C, *space) that are no features."""
    if name not in _TURNING or not isinstance(given, Tensor) or not isinstance(result, Tensor):
        return False
    if given.ndim != result.ndim or given.ndim < 4 or given.shape[:2] != result.shape[:2] or 1 in given.shape[2:]:
        return False
    own, other = given.stride()[2:], result.stride()[2:]
    return own != other and sorted(own) == sorted(other)


def multiplies(name: str) -> bool:
    """Whether a function, by its name, is a product of matrices, as of queries and keys."""
    return name in _PRODUCTS


def _argument(args: tuple[Any, ...], named: Mapping[str, Any], at: int, key: str) -> Any:
    return args[at] if len(args) > at else named.get(key)


def _crops(given: Tensor, result: Any) -> bool:
    """Whether a part of a map is taken along its axes, and not every second or third cell."""
    return any(
        given.stride(axis) == part.stride(axis) and given.shape[axis] - part.shape[axis] > _MARGIN
        for part in tensors_in(result)
        if part.ndim == given.ndim
        for axis in range(2, given.ndim)
    )


def _rolls(given: Tensor, cells: Any, axes: Any) -> bool:
    """Whether a map is rolled by more than a margin along an axis that is no features'; along none: as a whole."""
    if axes is None or axes == ():
        return True
    pairs = zip(_each(cells), _each(axes), strict=True)
    return any(
        min(shift % given.shape[axis], -shift % given.shape[axis]) > _MARGIN
        for shift, axis in pairs
        if axis % given.ndim > 1
    )


def _pads_unevenly(margins: Sequence[int]) -> bool:
    """Whether the margins of an axis differ, or cut off cells; those of the last axis come first."""
    pairs = zip(margins[::2], margins[1::2], strict=False)
    return any(min(before, after) < -_MARGIN or abs(before - after) > _MARGIN for before, after in pairs)


def _each(numbers: Any) -> tuple[int, ...]:
    return (numbers,) if isinstance(numbers, int) else tuple(numbers)
