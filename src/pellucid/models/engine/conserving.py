"""AttnLRP's rules, as gradients: what a function gets is shared out among its inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from pellucid.models.engine.attention import seen, unlisted, with_weights

_NEAR_ZERO = 1e-6
_WRITING = {
    **dict.fromkeys((F.relu_, torch.relu_, Tensor.relu_), torch.relu),
    Tensor.tanh_: torch.tanh,
    F.elu_: F.elu,
    F.leaky_relu_: F.leaky_relu,
    F.hardtanh_: F.hardtanh,
    F.selu_: F.selu,
    F.celu_: F.celu,
}
"""Activation functions that write into what they get, and their like that do not."""
_ELEMENTWISE = {
    *(F.relu, torch.relu, Tensor.relu, F.leaky_relu, F.relu6, F.hardtanh, F.elu, F.celu, F.selu, F.gelu),
    *(F.silu, F.mish, F.softplus, F.hardswish, F.tanh, torch.tanh, Tensor.tanh, *_WRITING),
}


class Conserving(TorchFunctionMode):
    """Passes made while this is open have gradients g for which input ⊙ g is the relevance of AttnLRP's rules.

    A product of two activations shares out halves; an activation function hands on f(x)/x; a norm's length or
    standard deviation is a constant; a softmax is what it is to first order. The pass itself is the network's own: the
    rules are hooks on what its functions are given. ``forget`` ends them: a second derivative, which goes through the
    same graph, is a plain one.
    """

    asked: ClassVar[str] = "AttnLRP's shares"
    needed: ClassVar[str] = "attention that could be read"
    instead: ClassVar[str] = "input_x_gradient"

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        """How many attentions ran."""
        self._handles: list[RemovableHandle] = []
        self._activations: Any = WeakIdKeyDictionary()
        """What depends on the images: a factor that does not is a weight."""

    def begin(self, images: Tensor) -> None:
        """Say which images the pass is of."""
        self._activations[images] = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        rule, kwargs = _RULES.get(func), kwargs or {}
        result = func(*args, **kwargs) if rule is None else rule(self, func, args, kwargs)
        if any(map(self.is_activation, _tensors((args, kwargs)))):
            self._activations.update((tensor, True) for tensor in _tensors(result))
        return result

    def forget(self) -> None:
        """End the rules."""
        for handle in self._handles:
            handle.remove()

    def is_activation(self, value: object) -> bool:
        """Whether a tensor depends on the images."""
        return isinstance(value, Tensor) and value in self._activations

    def part(self, tensor: Tensor, share: float) -> Tensor:
        """The same tensor, of whose gradient only a share goes on."""
        alias = tensor.view_as(tensor)
        if alias.requires_grad:
            self._hook(alias, lambda gradient: gradient * share)
        return alias

    def replaced(self, run: Callable[[Tensor], Tensor], x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """What ``run`` makes of x; the gradient g at that goes on to x as ``change(g)``."""
        alias, kept = x.view_as(x), list[Tensor]()
        result = run(alias)
        if alias.requires_grad and result.requires_grad:
            self._hook(alias, lambda _: change(kept.pop()))
            self._hook(result, kept.append)
        return result

    def _hook(self, tensor: Tensor, told: Callable[[Tensor], Tensor | None]) -> None:
        self._handles.append(tensor.register_hook(told))  # type: ignore[no-untyped-call]  # torch's own lacks it


def _tensors(value: Any) -> list[Tensor]:
    """The tensors in a function's arguments or answer."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


@cache
def _signature(func: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(func)
    except ValueError:  # of C
        return None


def _bound(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """A function's arguments by name, its first one as ``input``; of a function of C, only that may be without one."""
    signature = _signature(func)
    if signature is None:
        return {**dict(zip(("input",), args, strict=False)), **kwargs}
    return dict(signature.bind(*args, **kwargs).arguments)


def _elementwise(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    """An activation function f hands on f(x)/x."""
    given = _bound(func, args, kwargs)
    x = given.pop("input", None)
    x = args[0] if x is None else x
    writes = func in _WRITING or bool(given.pop("inplace", False))
    function = _WRITING.get(func, func)
    before = x.clone() if writes else x

    def change(gradient: Tensor) -> Tensor:
        safe = torch.where(before.abs() > _NEAR_ZERO, before, torch.full_like(before, _NEAR_ZERO))
        value: Tensor = function(safe, **given)
        return gradient * value / safe

    result = mode.replaced(lambda alias: function(alias, **given), before, change)
    return x.copy_(result) if writes else result


def _layer_norm(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    x, given, rest = _named(("input", "normalized_shape", "weight", "bias", "eps"), args, kwargs)
    axes = tuple(range(-len(given["normalized_shape"]), 0))

    def change(gradient: Tensor) -> Tensor:
        weighed = _weighed(gradient, given.get("weight"))
        spread = x.var(axes, unbiased=False, keepdim=True) + given.get("eps", 1e-5)
        return _centred(weighed * spread.rsqrt(), axes)

    return mode.replaced(lambda alias: func(alias, *rest, **kwargs), x, change)


def _rms_norm(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    x, given, rest = _named(("input", "normalized_shape", "weight", "eps"), args, kwargs)
    axes = tuple(range(-len(given["normalized_shape"]), 0))
    eps = given.get("eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps

    def change(gradient: Tensor) -> Tensor:
        return _weighed(gradient, given.get("weight")) * (x.square().mean(axes, keepdim=True) + eps).rsqrt()

    return mode.replaced(lambda alias: func(alias, *rest, **kwargs), x, change)


def _group_norm(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    x, given, rest = _named(("input", "num_groups", "weight", "bias", "eps"), args, kwargs)
    weight, grouped = given.get("weight"), (len(x), given["num_groups"], -1)
    weight = None if weight is None else weight.reshape(-1, *(1,) * (x.ndim - 2))

    def change(gradient: Tensor) -> Tensor:
        spread = x.reshape(grouped).var(-1, unbiased=False, keepdim=True) + given.get("eps", 1e-5)
        weighed = _weighed(gradient, weight).reshape(grouped)
        return _centred(weighed * spread.rsqrt(), (-1,)).reshape(x.shape)

    return mode.replaced(lambda alias: func(alias, *rest, **kwargs), x, change)


def _normalize(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    """Of x / ‖x‖ the length is a constant."""
    x, given, rest = _named(("input", "p", "dim", "eps", "out"), args, kwargs)

    def change(gradient: Tensor) -> Tensor:
        length = x.norm(given.get("p", 2.0), given.get("dim", 1), keepdim=True)
        scaled: Tensor = gradient / length.clamp_min(given.get("eps", 1e-12))
        return scaled

    return mode.replaced(lambda alias: func(alias, *rest, **kwargs), x, change)


def _named(names: Sequence[str], args: Any, kwargs: Any) -> tuple[Tensor, dict[str, Any], Any]:
    """A function's first argument, all of them by name, and what comes behind the first; takes it out of ``kwargs``."""
    given = dict(zip(names, args, strict=False)) | kwargs
    kwargs.pop("input", None)
    return given["input"], given, args[1:]


def _weighed(gradient: Tensor, weight: Tensor | None) -> Tensor:
    return gradient if weight is None else gradient * weight


def _centred(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    return tensor - tensor.mean(axes, keepdim=True)


def _sdpa(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    """Half is the values', a quarter the queries' and the keys'; what is added to their product gets their half."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args, strict=False)) | kwargs
    mode.seen += 1
    shares = {"query": 0.25, "key": 0.25, "value": 0.5}
    shares |= {"attn_mask": 0.5} if mode.is_activation(given.get("attn_mask")) else {}
    result: Tensor = func(**{**given, **{name: mode.part(given[name], share) for name, share in shares.items()}})
    return result


def _multi_head(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Any:
    with mode:
        output, _ = seen(func)(*args, **{**kwargs, "need_weights": False})
    return with_weights(output, func, args, kwargs)


def _product(first: int, mode: Conserving, func: Any, args: Any, kwargs: Any) -> Any:
    """Two activations get half each; of one and a weight, the activation gets all. Factors begin at ``first``."""
    args = unlisted(args)
    factors = args[first:]
    if len(factors) != 2 or not all(map(mode.is_activation, factors)):
        return func(*args, **kwargs)
    return func(*args[:first], *(mode.part(factor, 0.5) for factor in factors), **kwargs)


def _softmax(mode: Conserving, func: Any, args: Any, kwargs: Any) -> Tensor:
    result: Tensor = func(*args, **kwargs)
    mode.seen += result.ndim > 2
    return result


_PRODUCTS = {
    *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm),
    *(torch.mul, Tensor.mul, Tensor.__mul__),
}
_RULES: dict[Any, Callable[[Conserving, Any, Any, Any], Any]] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys((F.layer_norm, torch.layer_norm), _layer_norm),
    **dict.fromkeys((F.rms_norm, torch.rms_norm), _rms_norm),
    **dict.fromkeys((F.group_norm, torch.group_norm), _group_norm),
    F.normalize: _normalize,
    F.scaled_dot_product_attention: _sdpa,
    F.multi_head_attention_forward: _multi_head,
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), _softmax),
    **dict.fromkeys(_PRODUCTS, partial(_product, 0)),
    torch.einsum: partial(_product, 1),
}
