"""AttnLRP (Achtibat et al. 2024, arXiv:2402.05602): share the score out among the pixels, through the attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.functions import (
    ACTIVATIONS,
    IN_PLACE,
    PRODUCTS,
    SDPA_ARGUMENTS,
    SOFTMAXES,
    bound,
    multi_head_attention,
    operands,
)
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.rule import BackwardRule, RulePass
from pellucid.core.target import Targets


@register_method("attnlrp")
@dataclass(frozen=True)
class AttnLRP(Method):
    """Attention-aware layer-wise relevance propagation.

    The class's logit z is relevance, which every layer shares out among its inputs. With x the network's input and
    ∂̃z/∂x its gradient where (AttnLRP's rules, as gradients)::

        a product of two activations (q kᵀ, A v, a gate) gives each of them half
        an activation function f has the derivative f(x) / x
        a norm's standard deviation is a constant
        the softmax, linear layers and sums are as they are (its first order; LRP-0)

        map = Σ over the channels of x ⊙ ∂̃z/∂x

    The map is (B, K, *space), on the image's own grid, signed, in units of the logit. Biases and position
    embeddings keep shares of their own: ``explanation.checks["completeness_gap"]`` is z less the map's sum. A pixel
    of value 0 (after normalisation, the mean grey) gets nothing.

    What is no function of torch's (a kernel of its own, a norm that is written out by hand) passes as a plain
    gradient.

    When to use it: on transformers with a class token, where for the price of a gradient it pointed best at what was
    drawn; also on those that attend within windows (Swin).

    >>> import timm, torch, pellucid
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    >>> pellucid.explain(vit, torch.randn(1, 3, 64, 64), method="attnlrp").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False
    uses_attention: ClassVar[bool] = True
    signed: ClassVar[bool] = True

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        relevance = probe.input_gradients(targets, AttnLRPRule()) * probe.inputs.images[:, None]
        score = targets.scores(probe.scores())
        gap = score - relevance.flatten(2).sum(dim=2)
        return Attribution(relevance.sum(dim=2), checks={"completeness_gap": gap})


class AttnLRPRule(BackwardRule):
    """AttnLRP's rules as gradients: with g the gradient that they give, input ⊙ g is relevance.

    A product of two activations shares out halves; an activation function hands on f(x)/x; a norm's length or standard
    deviation is a constant; a softmax is what it is to first order. The output of the network stays its own.
    """

    asked: ClassVar[str] = "AttnLRP's shares"
    needed: ClassVar[str] = "attention that could be read"
    instead: ClassVar[str] = "input_x_gradient"

    reads_attention: bool = False

    def begin(self, about: RulePass) -> None:
        """Start a pass."""
        super().begin(about)
        self.reads_attention = False

    def applied(self) -> bool:
        """Whether there was attention; the other rules alone would be gradients of a network without it."""
        return self.reads_attention

    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute a function by its rule, or as it is where there is none."""
        rule = _RULES.get(function)
        return function(*args, **named) if rule is None else rule(self, function, args, named)


_NEAR_ZERO = 1e-6
_Handler = Callable[[AttnLRPRule, Any, Any, Any], Any]


def _elementwise(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    """An activation function f hands on f(x)/x."""
    given = bound(function, args, named)
    x = given.pop("input", None)
    x = args[0] if x is None else x
    writes = function in IN_PLACE or bool(given.pop("inplace", False))
    pure = IN_PLACE.get(function, function)
    before = x.clone() if writes else x

    def change(gradient: Tensor) -> Tensor:
        safe = torch.where(before.abs() > _NEAR_ZERO, before, torch.full_like(before, _NEAR_ZERO))
        value: Tensor = pure(safe, **given)
        return gradient * value / safe

    output = rule.through(lambda alias: pure(alias, **given), before, change)
    return x.copy_(output) if writes else output


def _layer_norm(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    x, given, rest = _named(("input", "normalized_shape", "weight", "bias", "eps"), args, named)
    axes = tuple(range(-len(given["normalized_shape"]), 0))

    def change(gradient: Tensor) -> Tensor:
        weighted = _weighted(gradient, given.get("weight"))
        spread = x.var(axes, unbiased=False, keepdim=True) + given.get("eps", 1e-5)
        return _centred(weighted * spread.rsqrt(), axes)

    return rule.through(lambda alias: function(alias, *rest, **named), x, change)


def _rms_norm(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    x, given, rest = _named(("input", "normalized_shape", "weight", "eps"), args, named)
    axes = tuple(range(-len(given["normalized_shape"]), 0))
    eps = given.get("eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps

    def change(gradient: Tensor) -> Tensor:
        return _weighted(gradient, given.get("weight")) * (x.square().mean(axes, keepdim=True) + eps).rsqrt()

    return rule.through(lambda alias: function(alias, *rest, **named), x, change)


def _group_norm(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    x, given, rest = _named(("input", "num_groups", "weight", "bias", "eps"), args, named)
    weight, grouped = given.get("weight"), (len(x), given["num_groups"], -1)
    weight = None if weight is None else weight.reshape(-1, *(1,) * (x.ndim - 2))

    def change(gradient: Tensor) -> Tensor:
        spread = x.reshape(grouped).var(-1, unbiased=False, keepdim=True) + given.get("eps", 1e-5)
        weighted = _weighted(gradient, weight).reshape(grouped)
        return _centred(weighted * spread.rsqrt(), (-1,)).reshape(x.shape)

    return rule.through(lambda alias: function(alias, *rest, **named), x, change)


def _normalize(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    """Of x / ‖x‖ the length is a constant."""
    x, given, rest = _named(("input", "p", "dim", "eps", "out"), args, named)

    def change(gradient: Tensor) -> Tensor:
        length = x.norm(given.get("p", 2.0), given.get("dim", 1), keepdim=True)
        scaled: Tensor = gradient / length.clamp_min(given.get("eps", 1e-12))
        return scaled

    return rule.through(lambda alias: function(alias, *rest, **named), x, change)


def _named(names: Sequence[str], args: Any, named: Any) -> tuple[Tensor, dict[str, Any], Any]:
    """A function's first argument, all by name, and those behind the first; takes the first out of ``named``."""
    given = dict(zip(names, args, strict=False)) | named
    named.pop("input", None)
    return given["input"], given, args[1:]


def _weighted(gradient: Tensor, weight: Tensor | None) -> Tensor:
    return gradient if weight is None else gradient * weight


def _centred(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    return tensor - tensor.mean(axes, keepdim=True)


def _sdpa(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    """The values get half, queries and keys a quarter each; a bias on their product gets their half."""
    given = dict(zip(SDPA_ARGUMENTS, args, strict=False)) | named
    rule.reads_attention = True
    shares = {"query": 0.25, "key": 0.25, "value": 0.5}
    shares |= {"attn_mask": 0.5} if rule.depends_on_images(given.get("attn_mask")) else {}
    output: Tensor = function(**{**given, **{name: rule.share(given[name], part) for name, part in shares.items()}})
    return output


def _multi_head(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Any:
    return multi_head_attention(rule.within, function, args, named)


def _product(first: int, rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Any:
    """Two activations get half each; of one and a weight, the activation gets all. Factors begin at ``first``."""
    args = operands(args)
    factors = args[first:]
    if len(factors) != 2 or not all(map(rule.depends_on_images, factors)):
        return function(*args, **named)
    return function(*args[:first], *(rule.share(factor, 0.5) for factor in factors), **named)


def _softmax(rule: AttnLRPRule, function: Any, args: Any, named: Any) -> Tensor:
    output: Tensor = function(*args, **named)
    rule.reads_attention |= output.ndim > 2
    return output


_RULES: dict[Any, _Handler] = {
    **dict.fromkeys(ACTIVATIONS, _elementwise),
    **dict.fromkeys((F.layer_norm, torch.layer_norm), _layer_norm),
    **dict.fromkeys((F.rms_norm, torch.rms_norm), _rms_norm),
    **dict.fromkeys((F.group_norm, torch.group_norm), _group_norm),
    F.normalize: _normalize,
    F.scaled_dot_product_attention: _sdpa,
    F.multi_head_attention_forward: _multi_head,
    **dict.fromkeys(SOFTMAXES, _softmax),
    **dict.fromkeys(PRODUCTS, partial(_product, 0)),
    torch.einsum: partial(_product, 1),
}
