"""What a network's output is made of, found in the pass: probabilities that are combined, or values without bounds.

A function mode follows what becomes of each sigmoid and softmax through functions that make probabilities of
probabilities: views, joins, means, maxima, minima, products, complements, powers, and sums with known weights. It also
follows what a linear layer makes, which is no probability, until another function bounds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isclose, prod
from typing import Any, Final, Literal
from weakref import ref

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.functions import CLAMPS, CONVOLUTIONS, MATRIX_PRODUCTS, SOFTMAXES
from pellucid.core.torch_private import FunctionMode
from pellucid.models.session.endings import IN_PLACE_SIGMOIDS, JOINS, SIGMOIDS, VIEWS

Origin = Literal["probabilities", "linear"]
_LINEAR: Final = "linear"
_Mark = float | Literal["linear"]
"""The sum w of the weights of a weighted sum of probabilities, each weight > 0, so that its values are from 0 to w.

Of a probability it is 1. Or "linear": what a linear layer made.
"""
_SMOOTH = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area")
"""Modes of interpolation that stay between the values that there are."""


@dataclass(frozen=True)
class _Marked:
    """A mark, of a tensor as it was then: a weak reference, and the count of writes into it."""

    tensor: Any
    version: int
    mark: _Mark


class OriginMode(FunctionMode):
    """While this is open, the tensors of a pass that are made of probabilities or by linear layers are marked."""

    def __init__(self) -> None:
        super().__init__()
        self._marked: dict[int, _Marked] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        rule = _RULES.get(func)
        if rule is None:
            return func(*args, **named)
        operands = [*_operands(args), *_operands(list(named.values()))]
        marks = [self.mark_of(one) if isinstance(one, Tensor) else None for one in operands]  # before it writes
        sizes = [one.numel() if isinstance(one, Tensor) else 1 for one in operands]
        output = func(*args, **named)
        for tensor in _tensors(output):
            call = _Call(args, named, operands, marks, prod(sizes[:1]) / max(1, tensor.numel()))
            self._keep(tensor, rule(call))
        return output

    def origin_of(self, tensor: Tensor) -> Origin | None:
        """What a tensor surely is: probabilities that others were made into, what a linear layer made, or neither."""
        mark = self.mark_of(tensor)
        if isinstance(mark, float):
            return "probabilities" if isclose(mark, 1, rel_tol=1e-6) else None
        return mark

    def mark_of(self, tensor: Tensor) -> _Mark | None:
        """The mark of a tensor, unless something was written into it since."""
        found = self._marked.get(id(tensor))
        is_same = found is not None and found.tensor() is tensor and found.version == _version(tensor)
        return found.mark if found is not None and is_same else None

    def _keep(self, tensor: Tensor, mark: _Mark | None) -> None:
        if mark is None:
            self._marked.pop(id(tensor), None)
        else:
            self._marked[id(tensor)] = _Marked(ref(tensor), _version(tensor), mark)


@dataclass(frozen=True)
class _Call:
    """A call of a function: its operands (tensors and numbers) with their marks.

    ``ratio``: how many values of the first operand there are for each value of the output.
    """

    args: Any
    named: Mapping[str, Any]
    operands: list[Any]
    marks: list[_Mark | None]
    ratio: float

    @property
    def of_tensors(self) -> list[_Mark | None]:
        """The marks of the operands that are tensors."""
        return [mark for one, mark in zip(self.operands, self.marks, strict=True) if isinstance(one, Tensor)]

    @property
    def weights(self) -> list[float] | None:
        """The weights of the operands that are tensors, where each of them is made of probabilities."""
        found = [mark for mark in self.of_tensors if isinstance(mark, float)]
        return found if found and len(found) == len(self.of_tensors) else None

    @property
    def number(self) -> float | None:
        """The one number among two operands."""
        numbers = [one for one in self.operands if not isinstance(one, Tensor)]
        return float(numbers[0]) if len(self.operands) == 2 and len(numbers) == 1 else None

    @property
    def is_linear(self) -> bool:
        """Whether an operand is what a linear layer made."""
        return _LINEAR in self.marks

    @property
    def is_scaled(self) -> bool:
        """Whether what a linear layer made meets numbers, its like, probabilities, and scales with fewer axes only."""
        pairs = list(zip(self.operands, self.marks, strict=True))
        most = max((one.ndim for one, mark in pairs if mark == _LINEAR), default=0)
        return all(mark is not None or not isinstance(one, Tensor) or one.ndim < most for one, mark in pairs)


_Rule = Callable[[_Call], _Mark | None]


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _operands(args: Any) -> list[Any]:
    """The floating tensors and the numbers among arguments, also in a list that comes first, as of a join."""
    given = [*args[0], *args[1:]] if args and isinstance(args[0], list | tuple) else args
    return [one for one in given if _is_operand(one)]


def _is_operand(one: Any) -> bool:
    if isinstance(one, Tensor):
        return one.is_floating_point()
    return isinstance(one, int | float) and not isinstance(one, bool)


def _tensors(output: Any) -> Iterator[Tensor]:
    parts = output if isinstance(output, tuple | list) else (output,)
    return (one for one in parts if isinstance(one, Tensor) and one.is_floating_point())


def _made(_call: _Call) -> _Mark | None:
    """A sigmoid or softmax."""
    return 1.0


def _kept(call: _Call) -> _Mark | None:
    """A view, a mean, a maximum or another value between those of its operands, which all have the same mark."""
    marks = set(call.of_tensors)
    return marks.pop() if len(marks) == 1 else None


def _filled(call: _Call) -> _Mark | None:
    """Values of a tensor or of others, and numbers in places."""
    kept = _kept(call)
    numbers = [one for one in call.operands if not isinstance(one, Tensor)]
    return kept if kept == _LINEAR or all(0 <= one <= 1 for one in numbers) else None


def _interpolated(call: _Call) -> _Mark | None:
    return _kept(call) if call.named.get("mode", "nearest") in _SMOOTH else None


def _of_probabilities(call: _Call) -> _Mark | None:
    """A bound or a product of probabilities."""
    return 1.0 if set(call.weights or ()) == {1.0} else None


def _power(call: _Call) -> _Mark | None:
    exponents = [one for one in call.operands[1:] if not isinstance(one, Tensor)]
    return _of_probabilities(call) if all(one > 0 for one in exponents) else None


def _summed(call: _Call) -> _Mark | None:
    """Σ over axes: of n values the weight is n times as large."""
    kept = _kept(call)
    return kept * call.ratio if isinstance(kept, float) else kept


def _added(call: _Call) -> _Mark | None:
    if call.is_linear:
        return _LINEAR
    if call.weights is None or "alpha" in call.named or call.number not in (None, 0):
        return None
    return sum(call.weights)


def _subtracted(call: _Call) -> _Mark | None:
    """1 − p; whatever is subtracted from it, what a linear layer made has no bounds."""
    if call.is_linear:
        return _LINEAR
    is_complement = not isinstance(call.operands[0], Tensor) and call.number == 1 and not call.named
    return _of_probabilities(call) if is_complement else None


def _subtracted_from(call: _Call) -> _Mark | None:
    """The operands in the other order."""
    return _subtracted(_Call(call.args, call.named, call.operands[::-1], call.marks[::-1], call.ratio))


def _multiplied(call: _Call) -> _Mark | None:
    """By a number, the weight is that times as large."""
    if call.is_linear:
        return _LINEAR if call.is_scaled else None
    if call.number is None:
        return _of_probabilities(call)
    return call.weights[0] * call.number if call.weights is not None and call.number > 0 else None


def _divided(call: _Call) -> _Mark | None:
    if call.is_linear:
        return _LINEAR if call.marks[0] == _LINEAR and call.marks[1:] in ([], [None]) and call.is_scaled else None
    number = call.number if call.operands and isinstance(call.operands[0], Tensor) else None
    return call.weights[0] / number if call.weights is not None and number is not None and number > 0 else None


def _by_weights(call: _Call) -> _Mark | None:
    """A linear layer: of probabilities it may be a mean of them, whose weights are learnt."""
    return None if isinstance(call.marks[0], float) else _LINEAR


def _product(call: _Call) -> _Mark | None:
    """A product of matrices: with probabilities it may be a mean of the other one's values, or of theirs."""
    has_probabilities = any(isinstance(mark, float) for mark in call.marks)
    return _LINEAR if _LINEAR in call.marks or not has_probabilities else None


def _rectified(call: _Call) -> _Mark | None:
    """A rectifier without an upper bound: what a linear layer made stays without one."""
    return _LINEAR if call.is_linear else None


_RECTIFIERS = (
    *(torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_, F.leaky_relu, F.leaky_relu_, F.prelu),
    *(F.elu, F.elu_, F.selu, F.celu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, torch.prelu, torch.selu),
)
_BETWEEN = (
    *(torch.mean, torch.amax, torch.amin, torch.max, torch.min, torch.maximum, torch.minimum, torch.fmax, torch.fmin),
    *(torch.median, torch.sort, torch.topk, torch.quantile, torch.kthvalue, torch.gather, torch.take),
    *(torch.nanmean, torch.mode, torch.masked_select, torch.flip, torch.roll, torch.ravel, torch.swapaxes, torch.t),
    *(Tensor.mean, Tensor.amax, Tensor.amin, Tensor.max, Tensor.min, Tensor.maximum, Tensor.minimum, Tensor.fmax),
    *(Tensor.fmin, Tensor.median, Tensor.sort, Tensor.topk, Tensor.quantile, Tensor.kthvalue),
    *(Tensor.gather, Tensor.nanmean, Tensor.flip, Tensor.roll, Tensor.ravel, Tensor.swapaxes, Tensor.t, Tensor.repeat),
    *(Tensor.unflatten, torch.unflatten, torch.repeat_interleave, torch.tile, torch.swapdims, Tensor.swapdims),
    *(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    *(F.max_pool1d, F.max_pool2d, F.max_pool3d, F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
    *(torch.max_pool1d, torch.max_pool2d, torch.max_pool3d, torch.adaptive_avg_pool1d, torch.adaptive_max_pool1d),
    *(F.dropout, torch.dropout, torch.vstack, torch.dstack),
)
_RULES: dict[Any, _Rule] = {
    **dict.fromkeys((*SIGMOIDS, *IN_PLACE_SIGMOIDS, *SOFTMAXES, torch.special.softmax), _made),
    **dict.fromkeys((*VIEWS, *JOINS, *_BETWEEN), _kept),
    **dict.fromkeys((torch.where, Tensor.where, torch.masked_fill, Tensor.masked_fill), _filled),
    F.interpolate: _interpolated,
    **dict.fromkeys(_RECTIFIERS, _rectified),
    **dict.fromkeys((*CLAMPS, torch.prod, Tensor.prod), _of_probabilities),
    **dict.fromkeys(
        (torch.pow, Tensor.pow, Tensor.__pow__, torch.square, Tensor.square, torch.sqrt, Tensor.sqrt), _power
    ),
    **dict.fromkeys((torch.sum, Tensor.sum), _summed),
    **dict.fromkeys((torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__), _added),
    **dict.fromkeys((torch.sub, torch.subtract, Tensor.sub, Tensor.sub_, Tensor.__sub__, Tensor.__isub__), _subtracted),
    **dict.fromkeys((torch.rsub, Tensor.__rsub__), _subtracted_from),
    **dict.fromkeys(
        (torch.mul, torch.multiply, Tensor.mul, Tensor.mul_, Tensor.__mul__, Tensor.__rmul__, Tensor.__imul__),
        _multiplied,
    ),
    **dict.fromkeys(
        (torch.div, torch.divide, torch.true_divide, Tensor.div, Tensor.div_, Tensor.__truediv__, Tensor.__itruediv__),
        _divided,
    ),
    **dict.fromkeys((F.linear, *CONVOLUTIONS), _by_weights),
    **dict.fromkeys((F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm), _by_weights),
    **dict.fromkeys((*MATRIX_PRODUCTS, torch.addmm, torch.baddbmm, torch.einsum, torch.mm, Tensor.mm), _product),
}
