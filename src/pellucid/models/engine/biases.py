"""Bias times gradient, layer by layer, while a backward pass goes by: no layer's gradient is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from pellucid.core.probe import Step
from pellucid.models.engine.derivatives import all_used, as_float
from pellucid.models.tokens import Layout

_CONVOLUTIONS = (
    *(F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
)
_BIASES: dict[Any, int] = {
    **dict.fromkeys((*_CONVOLUTIONS, F.linear), 2),
    **dict.fromkeys((F.group_norm, F.layer_norm), 3),
    F.instance_norm: 4,
}
"""Functions that add a bias, and which of their arguments it is."""
_OF_LAST_AXIS = (F.linear, F.layer_norm)
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


class BiasFold(TorchFunctionMode):
    """Watches a pass for functions that add a bias, then folds their contributions, a class at a time.

    Functions, not modules: a norm module may have an activation of its own behind its bias.
    """

    def __init__(self, layout: Callable[[Tensor, int | None], Layout | None], step: Step, images: int) -> None:
        super().__init__()
        self._layout = layout
        self._step = step
        self._images = images
        self._folded: Tensor | None = None
        self._total: Tensor | None = None
        self._told: list[RemovableHandle] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        answer = func(*args, **(kwargs or {}))
        bias = added_bias(func, args, kwargs or {})
        if bias is not None and isinstance(answer, Tensor) and answer.requires_grad:
            last = func in _OF_LAST_AXIS
            layout = self._layout(answer, len(bias) if last else None)
            told = partial(self._take, bias.detach(), last, layout)
            self._told.append(answer.register_hook(told))  # type: ignore[no-untyped-call]  # torch's own lacks it
        return answer

    def _take(self, bias: Tensor, last: bool, layout: Layout | None, gradient: Tensor) -> None:
        bias, gradient = as_float(bias), as_float(gradient)
        product = gradient * (bias if last else bias.reshape(-1, *(1,) * (gradient.ndim - 2)))
        if len(product) % self._images:
            return  # of no image
        total = product.reshape(self._images, -1).sum(1)  # an image's windows follow one another
        self._total = total if self._total is None else self._total + total
        if layout is not None:
            self._folded = self._step(self._folded, layout.spatial(product)[:, None])

    def run(self, scores: Tensor, leaf: Tensor, graph: bool) -> tuple[Tensor, Tensor]:
        """The fold (B, K, *space) and the sum (B, K) over the network, of every class."""
        with torch.enable_grad():
            columns = scores.unbind(1)
        try:
            each = [self._of_class(score, leaf, graph) for score in columns]
        finally:
            for handle in self._told:  # a second derivative goes through the same graph
                handle.remove()
        folded, totals = zip(*each, strict=True)
        return torch.cat(folded, dim=1), torch.stack(totals, dim=1)

    def _of_class(self, score: Tensor, leaf: Tensor, graph: bool) -> tuple[Tensor, Tensor]:
        self._folded = self._total = None
        with torch.enable_grad():
            total = score.sum()
        all_used(torch.autograd.grad(total, [leaf], retain_graph=True, create_graph=graph, allow_unused=True))
        nothing = leaf.new_zeros(len(leaf), dtype=score.dtype)
        folded = leaf.new_zeros(len(leaf), 1, *leaf.shape[2:]) if self._folded is None else self._folded
        return folded, nothing if self._total is None else self._total


def added_bias(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Tensor | None:
    """What a function adds to each channel, (C,): its bias; of a batch norm in use also what its mean comes to."""
    if func is F.batch_norm:
        return _norm_bias(dict(zip(_BATCH_NORM, args, strict=False)) | named)
    place = _BIASES.get(func)
    bias = None if place is None else named.get("bias", args[place] if len(args) > place else None)
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
