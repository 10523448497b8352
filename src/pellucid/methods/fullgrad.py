"""FullGrad (Srinivas & Fleuret 2019, arXiv:1905.00780): the input's and every bias's share of the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.functions import CONVOLUTIONS
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.rule import BackwardRule, RulePass
from pellucid.core.space import scale, upsample
from pellucid.core.target import Targets


@register_method("fullgrad")
@dataclass(frozen=True)
class FullGrad(Method):
    """FullGrad: for ReLU networks the logit is exactly the sum of input × gradient and of bias × gradient.

    With x the input, b the biases of the layers (of a batch norm in use β − γ μ / √(σ² + ε)) and y their outputs::

        map = Σ_channels ψ(x ⊙ ∂z/∂x) + Σ_layers Σ_channels upsampled ψ(b ⊙ ∂z/∂y)

    ψ takes magnitudes and stretches all channels and positions of one tensor to [0, 1]. The map is (B, K, *space), on
    the image's own grid, not negative: it shows where the evidence is, not for or against.
    ``explanation.checks["completeness_gap"]`` is z less the sum before ψ: 0 for a network of convolutions, linear
    layers, batch norms, ReLUs and poolings; for others it says how much of the score the map does not account for.
    Biases behind the last spatial layer (the final linear layer's) are in that sum and not in the map; those inside
    torch's own MultiheadAttention are in neither. Costs a recorded pass and a backward one a class.

    When to use it: on ReLU networks, for a fine map that accounts for all layers.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="fullgrad").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False
    concept: ClassVar[Concept | None] = Concept.SALIENCY

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        images = probe.inputs.images
        rule = BiasRule(tuple(images.shape[2:]))
        products = probe.input_gradients(targets, rule) * images[:, None]
        biases, total = rule.folded()
        gap = targets.scores(probe.scores()) - products.flatten(2).sum(dim=2) - total
        return Attribution(_stretched(products).sum(dim=2) + biases, checks={"completeness_gap": gap})


class BiasRule(BackwardRule):
    """No other gradient, but bias × gradient of every function that adds a bias, as the backward pass goes by.

    Functions and not modules, since a norm module may have an activation of its own behind its bias. No layer's
    gradient is kept: each product is added at once to its class's map, brought to the size of the images.
    """

    asked: ClassVar[str] = "the biases' gradients"
    instead: ClassVar[str] = "input_x_gradient"
    batched: ClassVar[bool] = False

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self._size = tuple(size)
        self._about: RulePass
        self._maps: list[list[Tensor]] = []
        self._sums: list[list[Tensor]] = []
        self._map: Tensor | None = None
        self._sum: Tensor | None = None

    def folded(self) -> tuple[Tensor, Tensor]:
        """Every class's map (B, K, *space), and the sum of bias × gradient over the network (B, K)."""
        maps = [torch.cat(row, dim=1) for row in self._maps]
        return torch.cat(maps), torch.cat([torch.stack(row, dim=1) for row in self._sums])

    def begin(self, about: RulePass) -> None:
        """A pass of some of the images begins: what an earlier one of them, without a result, left is dropped."""
        super().begin(about)
        self._about, self._map, self._sum = about, None, None
        for rows in (self._maps, self._sums):
            rows[:] = [row for row in rows if row]
            rows.append([])

    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Look at the gradient at the output of a function that adds a bias."""
        output = function(*args, **named)
        bias = added_bias(function, args, named)
        if bias is not None and isinstance(output, Tensor):
            self.after(output, partial(self._take, bias.detach(), function in _OF_LAST_AXIS))
        return output

    def _take(self, bias: Tensor, of_last_axis: bool, gradient: Tensor) -> None:
        bias, gradient = (_as_float(tensor) for tensor in (bias, gradient))
        product = gradient * (bias if of_last_axis else bias.reshape(-1, *(1,) * (gradient.ndim - 2)))
        count = len(self._about.images)
        if len(product) % count:
            return  # of no image
        total = product.reshape(count, -1).sum(1)  # an image's windows follow one another
        self._sum = total if self._sum is None else self._sum + total
        values = self._about.spatial(product, of_last_axis)
        if values is not None:
            share = upsample(_stretched(values[:, None]).sum(dim=2), self._size)
            self._map = share if self._map is None else self._map + share

    def class_done(self) -> None:
        """Keep the class's map and sum; 0 where no function added a bias."""
        images = self._about.images
        nothing = images.new_zeros(len(images), 1, *self._size)
        self._maps[-1].append(nothing if self._map is None else self._map)
        self._sums[-1].append(nothing.flatten(1).sum(1) if self._sum is None else self._sum)
        self._map = self._sum = None


_BIASES: dict[Any, int] = {
    **dict.fromkeys((*CONVOLUTIONS, F.linear), 2),
    **dict.fromkeys((F.group_norm, F.layer_norm), 3),
    F.instance_norm: 4,
}
"""Functions that add a bias, and which of their arguments it is."""
_OF_LAST_AXIS = (F.linear, F.layer_norm)
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def added_bias(function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
    """What a function adds to each channel, (C,): its bias; of a batch norm in use also what its mean comes to."""
    if function is F.batch_norm:
        return _norm_bias(dict(zip(_BATCH_NORM, args, strict=False)) | named)
    index = _BIASES.get(function)
    bias = None if index is None else named.get("bias", args[index] if len(args) > index else None)
    return bias if isinstance(bias, Tensor) and bias.ndim == 1 else None


def _norm_bias(given: dict[str, Any]) -> Tensor | None:
    """β − γ μ / √(σ² + ε); β alone where the batch's own statistics are used."""
    weight, mean = given.get("weight"), given.get("running_mean")
    bias: Tensor | None = given.get("bias")
    if mean is None or given.get("training", False):
        return bias
    shift: Tensor = -mean / (given["running_var"] + given.get("eps", 1e-5)).sqrt()
    shift = shift if weight is None else weight * shift
    return shift if bias is None else bias + shift


def _as_float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _stretched(values: Tensor) -> Tensor:
    """Magnitudes of (B, K, C, *grid), each (C, *grid) stretched to [0, 1]."""
    return scale(values.abs().flatten(2)).view_as(values)
