"""How torch's functions change which axes of a tensor count positions of the image (``soft_mixing``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import torch
from torch import Tensor

_FEW = 0.5


@dataclass(frozen=True)
class Axes:
    """Which axes of a tensor count positions of the image: the last one, and one before it."""

    last: bool = False
    other: bool = True
    is_embedded: bool = True
    """Whether a convolution or a linear layer has been applied to it: of the image itself, axes are not followed."""
    are_pairs: bool = False
    """Whether it is a matrix of pairs of positions, and not a union of tensors with other axes."""
    mixed_by: frozenset[int] = frozenset()
    """The functions that took the positions away, by number in the pass; none where an axis counts them."""
    part: float = 1.0
    """The part of a sequence of tokens that was taken: half of them, or less, may be its registers alone."""

    @property
    def is_mixed(self) -> bool:
        """Whether no axis counts positions any more, or few positions may be among those that it counts."""
        return not (self.last or self.other) or self.is_few

    @property
    def is_few(self) -> bool:
        """Whether it is so small a part of some tokens that it may hold no patch."""
        return self.part <= _FEW

    @property
    def swapped(self) -> Axes:
        """The axes once another one is the last."""
        return replace(self, last=self.other, other=self.last)


IMAGE_AXES = Axes(last=True, other=True, is_embedded=False)
_MAP = Axes(last=True, other=False)
_TOKENS = Axes()
_NONE = Axes(other=False)
ENLARGED = frozenset((0,))
"""In place of a function's number: one cell was copied to all others, so that they cannot follow the image."""


def matrix(columns: bool, rows: bool) -> Axes:
    """The axes of a product whose columns, and whose rows, may count positions."""
    return Axes(columns, rows, are_pairs=columns and rows)


def convolved(given: Tensor, result: Tensor, before: Axes, rank: int) -> Axes:
    """The axes of a convolution's output; one of fewer axes than the image has may sum over tokens."""
    if before.is_mixed or before.are_pairs:
        return before  # of attention weights, a convolution mixes heads
    if result.ndim - 2 < rank and before.is_embedded:
        if len(given) > 1 or (before.last and before.other):
            return before  # rows or heads of one image as a batch (axial attention): it sums over none of them
        return _resampled(given, result, before) if before.last else _NONE
    return _MAP


def _linear(given: Tensor, _result: Tensor, before: Axes) -> Axes:
    """A linear layer sums over the last axis, and over all positions where it gets one vector."""
    if given.ndim == 2 and len(given) == 1:
        return _NONE
    if not before.is_embedded:
        return _TOKENS
    return before if before.are_pairs else replace(before, last=False)


def _resampled(given: Tensor, result: Tensor, before: Axes) -> Axes:
    """Rows of cells joined to one axis are no rows any more once that has another length."""
    is_joined = given.ndim == 3 and before.last and before.is_embedded
    return _NONE if is_joined and given.shape[-1] != result.shape[-1] else _enlarged(given, result, before)


def _enlarged(given: Tensor, result: Tensor, before: Axes) -> Axes:
    """One cell of the whole image, as of global pooling, may be copied to a map (DeepLab, PSPNet)."""
    is_cell = before.is_mixed and given.ndim > 3 and math.prod(given.shape[2:]) == 1 < math.prod(result.shape[2:])
    return replace(before, mixed_by=ENLARGED) if is_cell else before


def _pooled(_given: Tensor, result: Tensor, before: Axes) -> Axes:
    return _NONE if math.prod(result.shape[2:]) == 1 else before


def reduced(given: Tensor, args: Sequence[Any], named: Mapping[str, Any], before: Axes) -> Axes:
    """A sum over the last axis, or over more positions of another one than are left."""
    dims = named.get("dim", named.get("axis", args[1] if len(args) > 1 else None))
    each = [dims] if hasattr(dims, "__index__") else list(dims or range(given.ndim))
    if not before.is_embedded or not given.ndim or not all(hasattr(dim, "__index__") for dim in each):
        return before
    summed = {index(dim) % given.ndim for dim in each}
    if given.ndim - 1 in summed:
        keeps = named.get("keepdim", named.get("keepdims", args[2] if len(args) > 2 else False))
        left = replace(before, last=False, are_pairs=False)
        return left if keeps else left.swapped
    total = math.prod(given.shape[dim] for dim in summed - {0})
    kept = math.prod(given.shape[1:-1]) // max(total, 1)
    return _NONE if not before.last and total >= kept else before


def viewed(given: Tensor, result: Tensor, before: Axes, is_map: bool) -> Axes:
    """The axes of a view: others where the channels become the last axis, or no longer are."""
    is_strided = given.layout == result.layout == torch.strided
    is_same = given.dtype == result.dtype and given.numel() == result.numel()
    if not (is_strided and is_same and given.ndim and result.ndim and before.is_embedded):
        return before
    last = result.shape[-1], result.stride(-1)
    each = list(zip(given.shape, given.stride(), strict=True))
    if each[-1] == last:
        return before
    if 1 in (given.shape[-1], result.shape[-1]):
        # Where an axis of length 1 is the last, positions are on another one; which one is not known once it is gone.
        return replace(before, last=given.shape[-1] == 1 and not before.is_mixed, other=not before.is_mixed)
    source = each.index(last) if last in each else 0
    if is_map and before.last and not before.other and source > 1:
        return replace(before, other=True)  # sides may be exchanged, or be channels and positions of that length
    return before.swapped


def taken(given: Tensor, part: Tensor, before: Axes) -> Axes:
    """The axes of a part of some tokens: a slice along their axis, or one of them."""
    axis = _tokens_of(given, before)
    count = None if axis is None else _count(given, part, axis)
    return before if axis is None or count is None else replace(before, part=before.part * count / given.shape[axis])


def _count(given: Tensor, part: Tensor, axis: int) -> int | None:
    """How many entries of an axis follow one another in a part of a tensor; None where it is no such part."""
    each = list(zip(given.shape, given.stride(), strict=True))
    if [*each[:axis], *each[axis + 1 :]] == list(zip(part.shape, part.stride(), strict=True)):
        return 1
    if part.ndim != given.ndim or [n for n, side in enumerate(part.shape) if side != given.shape[n]] != [axis]:
        return None
    is_strided = part._base is not None and part.shape[axis] > 1 and part.stride(axis) != given.stride(axis)
    return None if is_strided else part.shape[axis]


def _tokens_of(tensor: Tensor, axes: Axes) -> int | None:
    """The axis that counts tokens; None where it is not known."""
    is_known = axes.is_embedded and not (axes.last and axes.other)
    if not is_known or not tensor.is_floating_point() or not 3 <= tensor.ndim <= 4:
        return None
    if axes.last:
        return tensor.ndim - 1 if tensor.ndim == 3 else None  # of maps, crops are followed by ``dataflow``
    return 0 if tensor.ndim == 3 and tensor.shape[1] == 1 < tensor.shape[0] else tensor.ndim - 2  # 0: (T, B, C)


def joined(parts: Sequence[tuple[Tensor, Axes]], result: Tensor, together: Axes) -> Axes:
    """The axes of parts of tokens that are put one after the other."""
    found = [axes.part for _, axes in parts if axes.last or axes.other]
    first, axes = parts[0]
    axis = _tokens_of(first, axes)
    is_longer = axis is None or first.ndim < result.ndim or first.shape[axis] < result.shape[axis]
    return replace(together, part=min(1.0, sum(found))) if found and is_longer else together


VIEWS = frozenset(
    (
        *("transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "adjoint"),
        *("__get__", "__getitem__", "unsqueeze", "squeeze"),  # x.mT, x[..., None]
    )
)
JOINING = frozenset(("cat", "concat", "concatenate", "stack", "hstack", "vstack"))
SLICING = frozenset(
    (
        *("__getitem__", "narrow", "select", "unbind", "chunk", "split", "tensor_split", "split_with_sizes"),
        *("unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes"),
    )
)
REDUCING = frozenset(("sum", "mean", "amax", "logsumexp"))
RULES: Mapping[str, Callable[[Tensor, Tensor, Axes], Axes]] = {
    "linear": _linear,
    **dict.fromkeys(("avg_pool1d", "max_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d"), _resampled),
    "interpolate": _resampled,
    **dict.fromkeys(("expand", "expand_as", "repeat"), _enlarged),
    **dict.fromkeys(("avg_pool2d", "max_pool2d", "avg_pool3d", "max_pool3d"), _pooled),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _pooled),
    **dict.fromkeys(("adaptive_avg_pool3d", "adaptive_max_pool3d"), _pooled),
}
