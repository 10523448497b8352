"""Seeing attention where it is computed, also in fused kernels, which give no weights.

A torch function mode sees every call of the network while it runs: ``scaled_dot_product_attention``, also within
torch's own ``multi_head_attention_forward``, and a softmax over the keys together with the product with the values
that uses it. Nothing is changed on the model, so nothing has to be put back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Part:
    """Images ``start`` to ``stop`` of a batch of ``count``."""

    start: int
    stop: int
    count: int

    def of(self, tensor: Tensor) -> Tensor:
        """Their rows of a tensor whose first axis is the images, or so many rows for each."""
        each = len(tensor) // self.count
        return tensor[self.start * each : self.stop * each]


WHOLE = Part(0, 1, 1)
"""The whole batch."""

Reading = Callable[[Part], Tensor]
"""Something of (B, heads, queries, keys), a part of the images at a time."""


class Weighing(Protocol):
    """One attention of a pass: values weighed by softmax(q kᵀ), or by what the network makes of that."""

    @property
    def fused(self) -> bool:
        """Whether one function computed all of it, so that its weights are held nowhere."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""

    def weights(self, part: Part = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys) of a part of the images."""

    def begin(self) -> Tensor:
        """Let the graph begin here, unless it has begun: a tensor that this attention is seen by."""

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change what becomes of the values."""

    def result(self) -> Any:
        """What the function that was called answers."""

    def watch(self, told: Callable[[Reading], None]) -> RemovableHandle:
        """Be told how to read the gradient at the weights, in a backward pass; the handle removes that."""


Take = Callable[[int, Weighing], None]
"""Called with each attention and its number, the first 0: equal passes give equal numbers."""


@dataclass
class Fused:
    """``scaled_dot_product_attention``: the weights are computed when asked for, and not kept."""

    query: Tensor
    key: Tensor
    value: Tensor
    bias: Tensor | None
    scale: float
    run: Callable[[], Tensor]
    """The fused function."""
    fused: bool = True
    output: Tensor | None = None
    _parts: list[Tensor] = field(default_factory=list)
    """The output of the images whose weights were asked for, one part behind the other."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""
        return _shape(self.query, self.key.mT)

    def weights(self, part: Part = WHOLE) -> Tensor:
        """softmax(q kᵀ · scale + mask), (B, heads, queries, keys); 0 where a mask leaves a query nothing."""
        # To scale the product would take a pass over all weights.
        logits = (part.of(self.query) * self.scale) @ self._rows(self.key, part).mT
        if self.bias is not None:
            bias = self._rows(self.bias, part)
            nothing = (bias == -math.inf).all(dim=-1, keepdim=True)
            return _with_heads((logits + bias).softmax(dim=-1).masked_fill(nothing, 0))
        weights = logits.softmax(dim=-1)
        if self.output is None:  # asked during the pass: then the weights need not be computed twice
            self._parts.append(weights @ self._rows(self.value, part))
        return _with_heads(weights)

    def _rows(self, tensor: Tensor, part: Part) -> Tensor:
        """A part of what the queries are weighed with; of what is the same for all images, all."""
        is_each = tensor.ndim == self.query.ndim and len(tensor) == len(self.query)
        return part.of(tensor) if is_each else tensor

    def begin(self) -> Tensor:
        """Let the graph begin at the output."""
        output = self.result()
        self.output = output if output.requires_grad else _leaf(output)
        return self.output

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the output."""
        self.output = change(self.result())

    def result(self) -> Tensor:
        """What the function answers."""
        if self.output is None:
            whole = sum(map(len, self._parts)) == len(self.query)
            self.output = torch.cat(self._parts) if whole else self.run()
            self._parts.clear()
        return self.output

    def watch(self, told: Callable[[Reading], None]) -> RemovableHandle:
        """Be told ∂z/∂o vᵀ, with o the output and v the values: the gradient at the weights."""

        def read(gradient: Tensor, part: Part) -> Tensor:
            return _with_heads(part.of(gradient) @ self._rows(self.value, part).mT)

        return _watched(self.result(), lambda gradient: told(partial(read, gradient)))


@dataclass
class Plain:
    """A softmax whose weights the network holds itself: (B, heads, queries, keys), or (B, queries, keys).

    ``order`` brings the axes of what the network holds into this order.
    """

    tensor: Tensor
    use: Callable[[Tensor], Any]
    """What the network does with the weights."""
    order: tuple[int, ...]
    then: Callable[[Tensor], Tensor] = lambda product: product
    fused: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""
        weights = self.weights()
        return _shape(weights, weights)

    def weights(self, part: Part = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys)."""
        return _with_heads(part.of(self.tensor.permute(self.order)))

    def begin(self) -> Tensor:
        """Let the graph begin at the weights."""
        self.tensor = self.tensor if self.tensor.requires_grad else _leaf(self.tensor)
        return self.tensor

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change what every product with the weights answers."""
        self.then = change

    def result(self) -> Any:
        """What the function answers."""
        return self.then(self.use(self.tensor))

    def watch(self, told: Callable[[Reading], None]) -> RemovableHandle:
        """Be told the gradient at the weights."""
        order = self.order  # and not self, which holds the weights

        def read(gradient: Tensor, part: Part) -> Tensor:
            return _with_heads(part.of(gradient.permute(order)))

        return _watched(self.tensor, lambda gradient: told(partial(read, gradient)))


def _with_heads(weights: Tensor) -> Tensor:
    return weights if weights.ndim > 3 else weights[:, None]


def _shape(rows: Tensor, columns: Tensor) -> tuple[int, int, int, int]:
    """Sequences, heads, queries and keys, of tensors (…, heads, queries, any) and (…, any, keys)."""
    *sequences, heads, queries, _ = _with_heads(rows).shape
    return math.prod(sequences), heads, queries, columns.shape[-1]


def _watched(tensor: Tensor, told: Callable[[Tensor], None]) -> RemovableHandle:
    handle: RemovableHandle = tensor.register_hook(told)  # type: ignore[no-untyped-call]  # torch's own lacks it
    return handle


def _leaf(tensor: Tensor) -> Tensor:
    """Where the graph begins, with gradients on from here."""
    torch.set_grad_enabled(True)
    return tensor.detach().requires_grad_()


class AttentionTap(TorchFunctionMode):
    """While this is open, every attention of a pass is given to ``take``, which may let the graph begin there."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self._take = take
        self._count = 0
        self.softmaxes: list[tuple[int, ...]] = []
        """The shapes of the softmaxes over keys that were not used yet."""
        self._last: tuple[Tensor, Plain] | None = None
        """The weights that were used last, as the network holds them, and as they are seen."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        handler = _HANDLERS.get(func)
        if handler is None:
            return func(*args, **(kwargs or {}))
        return handler(self, func, args, kwargs or {})

    def tell(self, weighing: Weighing) -> Any:
        """Give one attention to ``take``, and answer for the function that was called."""
        number = self._count
        self._count += 1
        self._take(number, weighing)
        return weighing.result()

    def use(self, weights: Tensor, use: Callable[[Tensor], Any], order: tuple[int, ...]) -> Any:
        """Tell of a product that uses weights."""
        self.softmaxes = [shape for shape in self.softmaxes if shape != tuple(weights.shape)]
        plain = Plain(weights, use, order)
        self._last = weights, plain
        return self.tell(plain)

    def are_weights(self, tensor: Any) -> bool:
        """Whether a tensor may be what became of a softmax, by its shape."""
        return isinstance(tensor, Tensor) and tuple(tensor.shape) in self.softmaxes

    def again(self, operands: Sequence[Any], use: Callable[..., Any]) -> Any:
        """What another product with the weights that were used last comes to; None of any other product."""
        if self._last is None or not any(one is self._last[0] for one in operands):
            return None
        weights, plain = self._last
        return plain.then(use(*(plain.tensor if one is weights else one for one in operands)))


def _sdpa(tap: AttentionTap, func: Any, args: Any, kwargs: Any) -> Any:
    given = dict(zip(_SDPA, args, strict=False)) | kwargs
    query, key, value = (given[name] for name in _SDPA[:3])
    if query.ndim < 3:
        return func(*args, **kwargs)
    if given.get("enable_gqa", False):
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(repeats, dim=-3) for t in (key, value))
    scale = given.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    bias = _bias(query, key, given.get("attn_mask"), given.get("is_causal", False))
    return tap.tell(Fused(query, key, value, bias, scale, partial(func, *args, **kwargs)))


_SDPA = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")


def _bias(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """What torch documents that is added to the logits: the mask, or −∞ where it is False."""
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -math.inf)


def _multi_head(tap: AttentionTap, func: Any, args: Any, kwargs: Any) -> Any:
    """``torch.nn.MultiheadAttention`` ends here. Its body is run so that the attention within is seen, too."""
    with tap:
        output, _ = seen(func)(*args, **{**kwargs, "need_weights": False})
    return with_weights(output, func, args, kwargs)


def with_weights(output: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """What a multi-head attention answers: who asks for the weights gets those that torch computes."""
    return output, func(*args, **kwargs)[1] if kwargs.get("need_weights", True) else None


def seen(func: Any) -> Any:
    """A torch function that does not hand itself to the mode: only the functions that it calls."""
    return FunctionType(
        func.__code__, {**func.__globals__, "has_torch_function": lambda _: False}, None, func.__defaults__
    )


def _linear(_tap: AttentionTap, func: Any, args: Any, kwargs: Any) -> Any:
    """A linear layer: where its weights need no gradient, torch takes tokens that are not in a row one by one."""
    return func(args[0].contiguous(), *args[1:], **kwargs) if args else func(**kwargs)


def _softmax(tap: AttentionTap, func: Any, args: Any, kwargs: Any) -> Any:
    """A softmax over the last axis: weights, if a product with values uses what becomes of it."""
    weights = func(*args, **kwargs)
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if weights.ndim > 2 and axis in (-1, weights.ndim - 1):
        tap.softmaxes.append(tuple(weights.shape))
    return weights


def _product(tap: AttentionTap, func: Any, args: Any, kwargs: Any) -> Any:
    """A v, or v Aᵀ: a product of values with what has the shape of a softmax before it."""
    if kwargs or len(args) != 2:
        return func(*args, **kwargs)
    if (again := tap.again(args, func)) is not None:
        return again
    left, right = args
    order = tuple(range(left.ndim))
    if tap.are_weights(left):
        return tap.use(left, lambda weights: func(weights, right), order)
    if right.ndim > 2 and tuple(right.mT.shape) in tap.softmaxes:
        return tap.use(right.mT, lambda weights: func(left, weights.mT), order)
    return func(*args, **kwargs)


def _einsum(tap: AttentionTap, func: Any, args: Any, kwargs: Any) -> Any:
    """A product of weights and values as its equation says, in whichever order they stand."""
    equation, *operands = unlisted(args)
    if (again := tap.again(operands, partial(func, equation))) is not None:
        return again
    if not kwargs and len(operands) == 2 and isinstance(equation, str):
        for place, weights in enumerate(operands):
            order = _order(equation, place) if tap.are_weights(weights) else None
            if order is not None:
                return tap.use(weights, partial(_again, func, equation, operands, place), order)
    return func(*args, **kwargs)


def _again(func: Any, equation: str, operands: list[Tensor], place: int, weights: Tensor) -> Any:
    return func(equation, *operands[:place], weights, *operands[place + 1 :])


def _order(equation: str, place: int) -> tuple[int, ...] | None:
    """The axes of an einsum's operand as (B, heads, queries, keys), or (B, queries, keys); None if it is no weights.

    Keys, its last axis, are summed over; queries are not the values'; the images and the heads are everyone's.
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or not output.isalpha():
        return None
    own, other = terms[place], terms[1 - place]
    keys = [axis for axis in own if axis in other and axis not in output]
    queries = [axis for axis in own if axis in output and axis not in other]
    shared = [axis for axis in own if axis in output and axis in other]
    if keys != [own[-1]] or len(queries) != 1 or len(shared) + 2 != len(own) or len(own) not in (3, 4):
        return None
    return tuple(own.index(axis) for axis in (*shared, *queries, *keys))


def unlisted(args: Any) -> Any:
    """An einsum's arguments, whose operands may be given in a list."""
    return (args[0], *args[1]) if len(args) == 2 and isinstance(args[1], list | tuple) else args


_HANDLERS: dict[Any, Callable[[AttentionTap, Any, Any, Any], Any]] = {
    F.scaled_dot_product_attention: _sdpa,
    F.multi_head_attention_forward: _multi_head,
    F.linear: _linear,
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), _softmax),
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm), _product),
    torch.einsum: _einsum,
}
