"""Which tensors of a pass have lost the image's positions, because positions were mixed into others.

Latents that attend to the image (Perceiver, Q-Former), weighted sums over space (TokenLearner), soft assignments and
projections of tokens to others are sums over all positions: latent i is not the cell i of a grid, whatever their
number. A function mode follows which axes of each tensor count positions: the last one, another one, both or none. In
a product of matrices the rows are the first factor's and the columns the second one's; what is summed over is gone::

    attention      (N × d) (d × N) → N × N, times values (N × d) → N × d: the queries' positions
    latents        (L × d) (d × N) → L × N, times values (N × d) → L × d: none
    sums over space          (L × N) times patches (N × d) → L × d: none

What is added to a tensor that has positions has them, too, as after a residual connection. So it is only a suspicion:
whether a layer's cells are where they are drawn is measured (``fixed_order``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.core.functions import CONVOLUTIONS, SDPA_ARGUMENTS, operands
from pellucid.core.rule import tensors_in
from pellucid.core.torch_private import FunctionMode
from pellucid.models.discovery.dataflow import writes


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

    @property
    def is_mixed(self) -> bool:
        """Whether no axis counts positions any more."""
        return not (self.last or self.other)

    @property
    def swapped(self) -> Axes:
        """The axes once another one is the last."""
        return replace(self, last=self.other, other=self.last)


_IMAGE = Axes(last=True, other=True, is_embedded=False)
_MAP = Axes(last=True, other=False)
_TOKENS = Axes()
_NONE = Axes(other=False)
ENLARGED = frozenset((0,))
"""In place of a function's number: one cell was copied to all others, so that they cannot follow the image."""
_Named = Mapping[str, Any]


class SoftMixing(FunctionMode):
    """While this is open, the axes of all that is made of ``image`` are followed."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._axes: Any = WeakTensorKeyDictionary()
        self._axes[image] = _IMAGE
        self._rank = image.ndim - 2
        self._grids: set[tuple[int, ...]] = set()
        self._mixed = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        name = getattr(func, "__name__", "")
        takes_shape = name in _BY_FIRST or name.startswith("new_") or name.endswith("_like")
        # Before it is called: a function may write into what it gets.
        before = self.of((args[:1] if name in _BY_FIRST else ()) if takes_shape else (args, named))
        result = func(*args, **named)
        if before is not None:
            with suppress(Exception):  # what only suspects never ends the pass of a network that works
                self._follow(func, args, named, result, before)
            self.mark(result, before)
        return result

    def of(self, value: Any) -> Axes | None:
        """The axes of all tensors in a value together; None where none is made of the image."""
        known = [self._axes[tensor] for tensor in tensors_in(value) if tensor in self._axes]
        if not known:
            return None
        last, other = any(axes.last for axes in known), any(axes.other for axes in known)
        is_embedded = any(axes.is_embedded for axes in known)
        mixed_by = frozenset[int]() if last or other else frozenset(each for axes in known for each in axes.mixed_by)
        are_pairs = last and other and any(axes.are_pairs for axes in known)
        return Axes(last, other, is_embedded, are_pairs, mixed_by)

    def mark(self, value: Any, axes: Axes | None) -> None:
        """Set the axes of the tensors in a value that have none yet."""
        for tensor in tensors_in(value):
            if axes is not None and tensor not in self._axes:
                self._axes[tensor] = axes

    def _follow(self, func: Any, args: Any, named: _Named, result: Any, before: Axes) -> None:
        name = getattr(func, "__name__", "")
        axes, given = before, args[0] if args else named.get("input")
        if isinstance(given, Tensor) and isinstance(result, Tensor) and not given.is_nested:
            if func in CONVOLUTIONS:
                axes = _convolved(given, result, before, self._rank)
                self._grids.add(result.shape[2:])
            axes = _RULES[name](given, result, before) if name in _RULES else axes
            axes = _viewed(given, result, before, self._is_map(given)) if name in _VIEWS else axes
            axes = _reduced(given, args, named, before) if name in _REDUCING else axes
        if name in _PRODUCTS and before.is_embedded and isinstance(result, Tensor):
            axes = self._product(name, args, named, result, before)
        if axes.is_mixed and not axes.mixed_by:
            self._mixed += 1
            axes = replace(axes, mixed_by=before.mixed_by or frozenset((self._mixed,)))
        written = [given, *_whole_of(given)] if isinstance(given, Tensor) and writes(func, args, result) else []
        for tensor in tensors_in([result, *written]):
            self._axes[tensor] = axes

    def _is_map(self, tensor: Tensor) -> bool:
        """Whether a tensor has the sides of a convolution's output, or each of them as two: (B, C, H/p, p, W/p, p)."""
        return tensor.shape[2:] in self._grids or tensor.ndim == 2 + 2 * self._rank

    def _product(self, name: str, args: Any, named: _Named, result: Tensor, before: Axes) -> Axes:
        """The axes of a product: its rows are those of the first factor, its columns those of the last one."""
        if name == "einsum":
            equation, *factors = operands(args)
            return self._einsum(equation, factors, result) if _is_of_two(equation, factors) else before
        arguments, *wanted = _PRODUCTS[name]
        each = {**dict(zip(arguments, args, strict=False)), **named}
        first, last = (each.get(factor) for factor in wanted)
        if not (isinstance(first, Tensor) and isinstance(last, Tensor)):
            return before  # another function of that name
        rows, columns = self.of(first), self.of(last)
        return _matrix(columns is not None and columns.last, rows is not None and rows.other)

    def _einsum(self, equation: str, factors: Sequence[Tensor], result: Tensor) -> Axes:
        """The axes of a sum of products: the letters of positions that are left, the ellipsis as one of them."""
        inputs, _, output = equation.replace(" ", "").replace("...", ".").partition("->")
        images = output[:1] if len(output) == result.ndim else output[:1].strip(".")
        positions: set[str] = set()
        for letters, axes in zip(inputs.split(","), map(self.of, factors), strict=True):
            if axes is not None:
                positions.update(letters[-1:] if axes.last else "", letters[:-1] if axes.other else "")
        left = [letter in positions and letter != images for letter in output]
        return _matrix(left[-1:] == [True], any(left[:-1]))


def _whole_of(view: Tensor) -> list[Tensor]:
    """The tensor that a part of is written into, where its axes are in the same order."""
    whole = view._base
    return [whole] if whole is not None and whole.stride() == view.stride() else []


def _matrix(columns: bool, rows: bool) -> Axes:
    """The axes of a product whose columns, and whose rows, may count positions."""
    return Axes(columns, rows, are_pairs=columns and rows)


def _is_of_two(equation: Any, factors: Sequence[Any]) -> bool:
    """Whether an einsum is a product of two factors whose output is stated."""
    return isinstance(equation, str) and "->" in equation and len(factors) == 2 == equation.count(",") + 1


def _convolved(given: Tensor, result: Tensor, before: Axes, rank: int) -> Axes:
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


def _reduced(given: Tensor, args: Sequence[Any], named: _Named, before: Axes) -> Axes:
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


def _viewed(given: Tensor, result: Tensor, before: Axes, is_map: bool) -> Axes:
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
    # Of a map (B, C, H, W) or (B, C, H/p, p, W/p, p) it may be one of the axes of positions that becomes the last.
    is_position = before.last and not before.other and source > 1 and is_map
    return before if is_position else before.swapped


_PRODUCTS: Mapping[str, tuple[Sequence[str], str, str]] = {
    **dict.fromkeys(("matmul", "__matmul__"), (("input", "other"), "input", "other")),
    "__rmatmul__": (("input", "other"), "other", "input"),
    **dict.fromkeys(("mm", "bmm"), (("input", "mat2"), "input", "mat2")),
    "baddbmm": (("input", "batch1", "batch2"), "batch1", "batch2"),
    "scaled_dot_product_attention": (SDPA_ARGUMENTS, "query", "value"),
    "einsum": ((), "", ""),
}
"""Products of matrices: the names of their arguments, of the first factor and of the last one."""
_BY_FIRST = frozenset(("to", "type_as", "expand_as", "view_as", "reshape_as"))
"""Functions that take but the type or the shape of a second tensor."""
_VIEWS = frozenset(
    (
        *("transpose", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "adjoint"),
        *("__get__", "__getitem__", "unsqueeze", "squeeze"),  # x.mT, x[..., None]
    )
)
_REDUCING = frozenset(("sum", "mean", "amax", "logsumexp"))
_RULES: Mapping[str, Callable[[Tensor, Tensor, Axes], Axes]] = {
    "linear": _linear,
    **dict.fromkeys(("avg_pool1d", "max_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d"), _resampled),
    "interpolate": _resampled,
    **dict.fromkeys(("expand", "expand_as", "repeat"), _enlarged),
    **dict.fromkeys(("avg_pool2d", "max_pool2d", "avg_pool3d", "max_pool3d"), _pooled),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _pooled),
    **dict.fromkeys(("adaptive_avg_pool3d", "adaptive_max_pool3d"), _pooled),
}
