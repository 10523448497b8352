"""Which tensors of a pass have lost the image's positions, because they were mixed into others, or were left out.

Latents that attend to the image (Perceiver, Q-Former), weighted sums over space (TokenLearner), soft assignments and
projections of tokens to others are sums over all positions: latent i is not the cell i of a grid, whatever their
number. A function mode follows which axes of each tensor count positions: the last one, another one, both or none. In
a product of matrices the rows are the first factor's and the columns the second one's; what is summed over is gone::

    attention      (N × d) (d × N) → N × N, times values (N × d) → N × d: the queries' positions
    latents        (L × d) (d × N) → L × N, times values (N × d) → L × d: none
    sums over space          (L × N) times patches (N × d) → L × d: none

A few tokens that are sliced out of a joint sequence may be its registers, which attended to the patches: also where
their number, such as 4, 9 or 16, fits a grid.

What is added to a tensor that has positions has them, too, as after a residual connection. So it is only a suspicion:
whether a layer's cells are where they are drawn is measured (``fixed_order``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pellucid.core.functions import CONVOLUTIONS, SDPA_ARGUMENTS, operands
from pellucid.core.rule import tensors_in
from pellucid.core.torch_private import FunctionMode
from pellucid.models.discovery.dataflow import writes
from pellucid.models.discovery.position_axes import (
    IMAGE_AXES,
    JOINING,
    REDUCING,
    RULES,
    SLICING,
    VIEWS,
    Axes,
    convolved,
    joined,
    matrix,
    reduced,
    taken,
    viewed,
)

_Named = Mapping[str, Any]


class SoftMixing(FunctionMode):
    """While this is open, the axes of all that is made of ``image`` are followed."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._axes: Any = WeakTensorKeyDictionary()
        self._axes[image] = IMAGE_AXES
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
        are_pairs = last and other and any(axes.are_pairs for axes in known)
        part = max((axes.part for axes in known if axes.last or axes.other), default=1.0)
        together = Axes(last, other, is_embedded, are_pairs, part=part)
        mixed_by = frozenset(each for axes in known for each in axes.mixed_by)
        return replace(together, mixed_by=mixed_by) if together.is_mixed else together

    def mark(self, value: Any, axes: Axes | None) -> None:
        """Set the axes of the tensors in a value that have none yet."""
        for tensor in tensors_in(value):
            if axes is not None and tensor not in self._axes:
                self._axes[tensor] = axes

    def _follow(self, func: Any, args: Any, named: _Named, result: Any, before: Axes) -> None:
        name = getattr(func, "__name__", "")
        given = args[0] if args else named.get("input")
        axes = self._numbered(self._made(func, args, named, result, before), before)
        sequence = given if name in SLICING and isinstance(given, Tensor) and not [*tensors_in(args[1:])] else None
        for tensor in tensors_in(result):
            own = axes if sequence is None else taken(sequence, tensor, axes)
            self._axes[tensor] = self._numbered(own, axes)
        if isinstance(given, Tensor) and writes(func, args, result):
            for tensor in (given, *_whole_of(given)):
                own = self._axes.get(tensor, axes)
                self._axes[tensor] = self._numbered(replace(axes, part=max(own.part, axes.part)), axes)

    def _made(self, func: Any, args: Any, named: _Named, result: Any, before: Axes) -> Axes:
        """The axes of what a function makes, by its rule."""
        name = getattr(func, "__name__", "")
        axes, given = before, args[0] if args else named.get("input")
        if isinstance(given, Tensor) and isinstance(result, Tensor) and not given.is_nested:
            if func in CONVOLUTIONS:
                axes = convolved(given, result, before, self._rank)
                self._grids.add(result.shape[2:])
            axes = RULES[name](given, result, before) if name in RULES else axes
            axes = viewed(given, result, before, self._is_map(given)) if name in VIEWS else axes
            axes = reduced(given, args, named, before) if name in REDUCING else axes
        if name in _PRODUCTS and before.is_embedded and isinstance(result, Tensor):
            axes = self._product(name, args, named, result, before)
        if name in JOINING and isinstance(result, Tensor):
            parts = [(part, self._axes[part]) for part in tensors_in(given) if part in self._axes]
            axes = joined(parts, result, before) if parts else before
        return axes

    def _numbered(self, axes: Axes, before: Axes) -> Axes:
        """The axes with the number of the function that took the positions away."""
        if not axes.is_mixed:
            return replace(axes, mixed_by=frozenset())
        known = axes.mixed_by or before.mixed_by
        if not known or (axes.is_few and not before.is_few):
            self._mixed += 1
            known |= {self._mixed}
        return replace(axes, mixed_by=known)

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
        has_columns = columns is not None and columns.last and not columns.is_few
        return matrix(has_columns, rows is not None and rows.other and not rows.is_few)

    def _einsum(self, equation: str, factors: Sequence[Tensor], result: Tensor) -> Axes:
        """The axes of a sum of products: the letters of positions that are left, the ellipsis as one of them."""
        inputs, _, output = equation.replace(" ", "").replace("...", ".").partition("->")
        images = output[:1] if len(output) == result.ndim else output[:1].strip(".")
        positions: set[str] = set()
        for letters, axes in zip(inputs.split(","), map(self.of, factors), strict=True):
            if axes is not None and not axes.is_few:
                positions.update(letters[-1:] if axes.last else "", letters[:-1] if axes.other else "")
        left = [letter in positions and letter != images for letter in output]
        return matrix(left[-1:] == [True], any(left[:-1]))


def _whole_of(view: Tensor) -> list[Tensor]:
    """The tensor that a part of is written into, where its axes are in the same order."""
    whole = view._base
    return [whole] if whole is not None and whole.stride() == view.stride() else []


def _is_of_two(equation: Any, factors: Sequence[Any]) -> bool:
    """Whether an einsum is a product of two factors whose output is stated."""
    return isinstance(equation, str) and "->" in equation and len(factors) == 2 == equation.count(",") + 1


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
