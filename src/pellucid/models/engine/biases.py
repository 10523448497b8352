"""Bias times gradient, layer by layer, while a backward pass goes by: no layer's gradient is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.hooks import RemovableHandle

from pellucid.core.probe import Step
from pellucid.models.engine.capture import first_tensor
from pellucid.models.engine.derivatives import all_used, as_float
from pellucid.models.tokens import Layout

_WITH_BIAS = (_ConvNd, nn.Linear, nn.LayerNorm, nn.GroupNorm)


def bias_of(module: nn.Module) -> Tensor | None:
    """What a layer adds to each channel, (C,): its bias; of a batch norm in use also what its mean comes to."""
    if isinstance(module, _BatchNorm):
        return _norm_bias(module)
    return module.bias if isinstance(module, _WITH_BIAS) else None


def _norm_bias(module: _BatchNorm) -> Tensor | None:
    """β − γ μ / √(σ² + ε)."""
    if module.running_mean is None or module.running_var is None:
        return module.bias
    shift = -module.running_mean / (module.running_var + module.eps).sqrt()
    return shift if module.weight is None else module.bias + module.weight * shift


class BiasFold:
    """Watches a pass for layers with a bias, then folds their contributions, a class at a time."""

    def __init__(self, layout: Callable[[nn.Module, Tensor], Layout | None], step: Step) -> None:
        self._layout = layout
        self._step = step
        self._folded: Tensor | None = None
        self._total: Tensor | None = None
        self._told: list[RemovableHandle] = []

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """While this is open, outputs of layers with a bias ask to be told their gradient."""
        with ExitStack() as stack:
            for module in network.modules():
                if bias_of(module) is not None:
                    stack.callback(module.register_forward_hook(self._ask).remove)
            yield

    def _ask(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        if tensor is not None and tensor.requires_grad:
            told = partial(self._take, module, self._layout(module, tensor))
            self._told.append(tensor.register_hook(told))  # type: ignore[no-untyped-call]  # torch's own lacks it

    def _take(self, module: nn.Module, layout: Layout | None, gradient: Tensor) -> None:
        bias, gradient = as_float(bias_of(module)), as_float(gradient)  # type: ignore[arg-type]  # it has one
        last = isinstance(module, nn.Linear) or type(module) is nn.LayerNorm or gradient.shape[1] != len(bias)
        product = gradient * (bias if last else bias.reshape(-1, *(1,) * (gradient.ndim - 2)))
        total = product.flatten(1).sum(1)
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
