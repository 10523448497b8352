"""The mode that intercepts attention where it is computed, also in fused kernels, which return no weights.

A torch function mode intercepts ``scaled_dot_product_attention``, also within torch's
``multi_head_attention_forward``, and a softmax over the keys together with the product with the values that uses it.
The network's modules are not changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.functions import MATRIX_PRODUCTS, SDPA_ARGUMENTS, SOFTMAXES, multi_head_attention, operands
from pellucid.core.torch_private import FunctionMode
from pellucid.models.session.attention_calls import AttentionCall, SDPACall, SoftmaxCall

Take = Callable[[int, AttentionCall], None]
"""Called with each attention call and its number in the pass, from 0: equal passes give equal numbers."""


class AttentionMode(FunctionMode):
    """While this is open, ``take`` is called with every attention call of a pass and may start the graph there."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self._take = take
        self._count = 0
        self.softmaxes: list[tuple[int, ...]] = []
        """The shapes of the softmaxes over keys that no product has used yet."""
        self._last: tuple[Tensor, SoftmaxCall] | None = None
        """The weights that a product used last, in the network's layout, and their call."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        handler = _HANDLERS.get(func)
        if handler is None:
            return func(*args, **(kwargs or {}))
        return handler(self, func, args, kwargs or {})

    def within(self, run: Callable[[], Any]) -> Any:
        """Run a torch function that is written in Python, and intercept the functions it calls."""
        with self:
            return run()

    def tell(self, call: AttentionCall) -> Any:
        """Pass one attention call to ``take``, and return the output of the intercepted function."""
        number = self._count
        self._count += 1
        self._take(number, call)
        return call.result()

    def use(self, weights: Tensor, use: Callable[[Tensor], Any], order: tuple[int, ...]) -> Any:
        """Intercept a product with attention weights."""
        self.softmaxes = [shape for shape in self.softmaxes if shape != tuple(weights.shape)]
        call = SoftmaxCall(weights, use, order)
        self._last = weights, call
        return self.tell(call)

    def are_weights(self, tensor: Any) -> bool:
        """Whether a tensor may be computed from a softmax, judged by its shape."""
        return isinstance(tensor, Tensor) and tuple(tensor.shape) in self.softmaxes

    def again(self, operands: Sequence[Any], use: Callable[..., Any]) -> Any:
        """The output of another product with the weights used last; None for any other product."""
        if self._last is None or not any(one is self._last[0] for one in operands):
            return None
        weights, call = self._last
        return call.then(use(*(call.tensor if one is weights else one for one in operands)))


def _sdpa(mode: AttentionMode, func: Any, args: Any, kwargs: Any) -> Any:
    given = dict(zip(SDPA_ARGUMENTS, args, strict=False)) | kwargs
    query, key, value = (given[name] for name in SDPA_ARGUMENTS[:3])
    if query.ndim < 3:
        return func(*args, **kwargs)
    if given.get("enable_gqa", False):
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(repeats, dim=-3) for t in (key, value))
    scale = given.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    bias = _bias(query, key, given.get("attn_mask"), given.get("is_causal", False))
    return mode.tell(SDPACall(query, key, value, bias, scale, partial(func, *args, **kwargs)))


def _bias(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor | None:
    """The bias added to the logits, as torch documents it: a float mask itself, or −∞ where a boolean mask is False."""
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -math.inf)


def _multi_head(mode: AttentionMode, func: Any, args: Any, kwargs: Any) -> Any:
    """``torch.nn.MultiheadAttention`` calls this. Its body runs in the mode, so that its attention is intercepted."""
    return multi_head_attention(mode.within, func, args, kwargs)


def _linear(_mode: AttentionMode, func: Any, args: Any, kwargs: Any) -> Any:
    """A linear layer on contiguous tokens: torch computes others one by one where the weights need no gradient."""
    return func(args[0].contiguous(), *args[1:], **kwargs) if args else func(**kwargs)


def _softmax(mode: AttentionMode, func: Any, args: Any, kwargs: Any) -> Any:
    """A softmax over the last axis: these are attention weights if a product with values uses them later."""
    weights = func(*args, **kwargs)
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if weights.ndim > 2 and axis in (-1, weights.ndim - 1):
        mode.softmaxes.append(tuple(weights.shape))
    return weights


def _product(mode: AttentionMode, func: Any, args: Any, kwargs: Any) -> Any:
    """A v, or v Aᵀ: a product of values with a tensor that has the shape of an earlier softmax."""
    if kwargs or len(args) != 2:
        return func(*args, **kwargs)
    if (again := mode.again(args, func)) is not None:
        return again
    left, right = args
    order = tuple(range(left.ndim))
    if mode.are_weights(left):
        return mode.use(left, lambda weights: func(weights, right), order)
    if right.ndim > 2 and tuple(right.mT.shape) in mode.softmaxes:
        return mode.use(right.mT, lambda weights: func(left, weights.mT), order)
    return func(*args, **kwargs)


def _einsum(mode: AttentionMode, func: Any, args: Any, kwargs: Any) -> Any:
    """A product of weights and values by an einsum equation, in either order."""
    equation, *factors = operands(args)
    if (again := mode.again(factors, partial(func, equation))) is not None:
        return again
    if not kwargs and len(factors) == 2 and isinstance(equation, str):
        for index, weights in enumerate(factors):
            order = _order(equation, index) if mode.are_weights(weights) else None
            if order is not None:
                return mode.use(weights, partial(_again, func, equation, factors, index), order)
    return func(*args, **kwargs)


def _again(func: Any, equation: str, factors: list[Tensor], index: int, weights: Tensor) -> Any:
    return func(equation, *factors[:index], weights, *factors[index + 1 :])


def _order(equation: str, index: int) -> tuple[int, ...] | None:
    """The axes of an einsum's operand as (B, heads, queries, keys), or (B, queries, keys); None if it is no weights.

    Keys, its last axis, are summed over; queries are not the values'; the images and the heads are everyone's.
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != 2 or not output.isalpha():
        return None
    own, other = terms[index], terms[1 - index]
    keys = [axis for axis in own if axis in other and axis not in output]
    queries = [axis for axis in own if axis in output and axis not in other]
    shared = [axis for axis in own if axis in output and axis in other]
    if keys != [own[-1]] or len(queries) != 1 or len(shared) + 2 != len(own) or len(own) not in (3, 4):
        return None
    return tuple(own.index(axis) for axis in (*shared, *queries, *keys))


_HANDLERS: dict[Any, Callable[[AttentionMode, Any, Any, Any], Any]] = {
    F.scaled_dot_product_attention: _sdpa,
    F.multi_head_attention_forward: _multi_head,
    F.linear: _linear,
    **dict.fromkeys(SOFTMAXES, _softmax),
    **dict.fromkeys(MATRIX_PRODUCTS, _product),
    torch.einsum: _einsum,
}


def unfused() -> AttentionMode:
    """While this is open, this thread computes attention by functions that can be differentiated twice."""
    return AttentionMode(lambda _, call: call.unfuse())
