"""Softplus in place of ReLU while a network runs, so that maps made of gradients have derivatives of their own.

The second derivative of a ReLU is 0 wherever it exists: a gradient is constant between its kinks, and an attack on a
map made of gradients sees no slope (Dombrowski et al. 2019, arXiv:1906.07983; Ghorbani et al. 2019, arXiv:1710.10547).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.functions import CLAMPS, IN_PLACE, bound, of_input
from pellucid.core.torch_private import FunctionMode, is_checkpointed
from pellucid.errors import GradientError

_SLOPE = 0.01
"""The negative slope of a leaky ReLU that states none."""


class SoftenedMode(FunctionMode):
    """While this is open, max(x, 0) is log(1 + exp(βx)) / β, and what is made of it likewise: ReLU6, PReLU and others.

    In-place functions write into their input as they do elsewhere. Functions that are smooth already are left alone.
    """

    def __init__(self, beta: float) -> None:
        super().__init__()
        self._beta = beta

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        soft = self._soft(func, args, named)
        if soft is None:
            return func(*args, **named)
        if torch.is_grad_enabled() and is_checkpointed():
            raise GradientError(
                "a gradient with softplus for ReLU was asked for; the model runs ReLU under torch.utils.checkpoint, "
                "which would run it as it is in the backward pass: turn gradient checkpointing off"
            )
        x, _ = of_input(func, args, named)
        if func in _ALWAYS_IN_PLACE or named.get("inplace") or _says_in_place(func, args, named):
            return x.copy_(soft(x.clone()))
        return soft(x)

    def _soft(self, func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
        """The smooth counterpart of a call, of its input alone; None where it needs none."""
        bounds = _bounds(func, args, named)
        if bounds is not None:
            return lambda x: self._clamped(x, *bounds)
        if func in _LEAKY:
            slope = bound(func, args, named).get("negative_slope", _SLOPE)
            return lambda x: slope * x + (1 - slope) * self._plus(x)
        if func in _PARAMETRIC:
            weight = named.get("weight", args[1] if len(args) > 1 else None)
            return lambda x: self._of_channels(x, weight)
        if func is F.hardsigmoid:
            return lambda x: self._clamped(x + 3, 0.0, 6.0) / 6
        return None

    def _of_channels(self, x: Tensor, weight: Tensor) -> Tensor:
        """A leaky ReLU whose slope is that of each channel, or of all."""
        slope = weight.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else weight
        return slope * x + (1 - slope) * self._plus(x)

    def _clamped(self, x: Tensor, low: float, high: float | None) -> Tensor:
        lifted = low + self._plus(x - low)
        return lifted if high is None else lifted - self._plus(x - high)

    def _plus(self, x: Tensor) -> Tensor:
        return F.softplus(x, self._beta, threshold=40.0)


_RELUS = frozenset((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_))
_LEAKY = frozenset((F.leaky_relu, F.leaky_relu_))
_PARAMETRIC = frozenset((F.prelu, torch.prelu, Tensor.prelu))
_BOUNDED = frozenset((F.hardtanh, F.hardtanh_))
_ALWAYS_IN_PLACE = frozenset((*IN_PLACE, Tensor.clamp_, Tensor.clip_, Tensor.clamp_min_))


def _bounds(func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[float, float | None] | None:
    """The lower and upper bound of a ReLU, ReLU6, hardtanh or clamp from a number on; None of any other call."""
    if func in _RELUS:
        return 0.0, None
    if func is F.relu6:
        return 0.0, 6.0
    if func in _BOUNDED:
        given = bound(func, args, named)
        return given.get("min_val", -1.0), given.get("max_val", 1.0)
    if func in CLAMPS and func is not F.threshold:
        return _of_clamp(args, named)
    return None


def _of_clamp(args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[float, float | None] | None:
    low = named.get("min", args[1] if len(args) > 1 else None)
    high = named.get("max", args[2] if len(args) > 2 else None)
    is_plain = isinstance(low, (int, float)) and isinstance(high, (int, float, type(None)))
    return (low, high) if is_plain and low == 0 else None


def _says_in_place(func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Whether a function of Python was told by position to write into its input."""
    return func in _TOLD and bool(bound(func, args, named).get("inplace"))


_TOLD = frozenset((F.relu, F.relu6, F.leaky_relu, F.hardtanh, F.hardsigmoid))
