"""Tables of torch's functions by what they compute, for backward rules and for reading attention.

A network reaches one operation by several functions (``F.relu``, ``torch.relu``, ``Tensor.relu_``, …). A function that
is missing here passes as any other: nothing special is done with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

IN_PLACE: Mapping[Any, Any] = {
    **dict.fromkeys((F.relu_, torch.relu_, Tensor.relu_), torch.relu),
    Tensor.tanh_: torch.tanh,
    F.elu_: F.elu,
    F.leaky_relu_: F.leaky_relu,
    F.hardtanh_: F.hardtanh,
    F.selu_: F.selu,
    F.celu_: F.celu,
}
"""In-place activation functions, and their counterparts that do not write into their input."""

RECTIFIERS = frozenset(
    (
        *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.leaky_relu, F.leaky_relu_),
        *(F.relu6, F.hardtanh, F.hardtanh_),  # nn.ReLU6 calls hardtanh
        *(F.elu, F.elu_, F.celu, F.selu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, F.prelu, F.rrelu),
    )
)
"""Activation functions that pass positive values through and suppress negative ones."""

ACTIVATIONS = frozenset(
    (
        *(F.relu, torch.relu, Tensor.relu, F.leaky_relu, F.relu6, F.hardtanh, F.elu, F.celu, F.selu, F.gelu),
        *(F.silu, F.mish, F.softplus, F.hardswish, F.tanh, torch.tanh, Tensor.tanh, *IN_PLACE),
    )
)
"""Element-wise activation functions f with one input, and f(0) = 0 or near."""

CLAMPS = frozenset(
    (
        *(torch.clamp, torch.clip, torch.clamp_min, Tensor.clamp, Tensor.clip, Tensor.clamp_min),
        *(Tensor.clamp_, Tensor.clip_, Tensor.clamp_min_, F.threshold),
    )
)
"""Functions with a lower bound. With the bound 0 each of them is a ReLU."""

SOFTMAXES = frozenset((F.softmax, torch.softmax, Tensor.softmax))
MATRIX_PRODUCTS = frozenset((torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm))
PRODUCTS = MATRIX_PRODUCTS | {torch.mul, Tensor.mul, Tensor.__mul__}

CONVOLUTIONS = frozenset(
    (
        *(F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d),
        *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
    )
)

SDPA_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
"""The arguments of ``scaled_dot_product_attention``, in order."""


def is_rectifier(function: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Whether a call computes an activation function that suppresses negative values, by whichever torch function."""
    return function in RECTIFIERS or (function in CLAMPS and _is_from_zero(args, named))


def _is_from_zero(args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    bound = named.get("min", named.get("threshold", args[1] if len(args) > 1 else None))
    return isinstance(bound, (int, float)) and bound == 0


def of_input(function: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, Callable[[Any], Any]]:
    """A call's input, given first or by name as in ``torch.relu(input=x)``, and the call as a function of its input."""
    if args:
        return args[0], lambda x: function(x, *args[1:], **named)
    rest = {name: value for name, value in named.items() if name != "input"}
    return named["input"], lambda x: function(x, **rest)


def without_dispatch(function: Any) -> Any:
    """A copy of a torch function of Python with its own dispatch switched off.

    Only the functions that it calls are then intercepted: ``F.multi_head_attention_forward`` hands itself to the
    function mode as a whole, and the attention within it would not be seen.
    """
    return FunctionType(
        function.__code__, {**function.__globals__, "has_torch_function": lambda _: False}, None, function.__defaults__
    )


def multi_head_attention(
    within: Callable[[Callable[[], Any]], Any], function: Any, args: tuple[Any, ...], named: Mapping[str, Any]
) -> Any:
    """Call ``F.multi_head_attention_forward`` so that the functions which it calls are intercepted.

    ``within`` runs a call with the interception on. A caller that asks for the weights gets those that torch computes.
    """
    output, _ = within(lambda: without_dispatch(function)(*args, **{**named, "need_weights": False}))
    return output, function(*args, **named)[1] if named.get("need_weights", True) else None


def operands(args: Any) -> Any:
    """An einsum's arguments, whose operands may be given in a list."""
    return (args[0], *args[1]) if len(args) == 2 and isinstance(args[1], list | tuple) else args


@cache
def _signature(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # implemented in C
        return None


def bound(function: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """A function's arguments by name, the first as ``input``; of a function of C only that one may lack a name."""
    signature = _signature(function)
    if signature is None:
        return {**dict(zip(("input",), args, strict=False)), **named}
    return dict(signature.bind(*args, **named).arguments)
