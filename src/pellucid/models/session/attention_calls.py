"""One attention call of a pass: its weights, output and gradient, computed in chunks of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class Chunk:
    """Images ``start`` to ``stop`` of a batch of ``count``."""

    start: int
    stop: int
    count: int

    def of(self, tensor: Tensor) -> Tensor:
        """The chunk's rows of a tensor whose first axis has one row, or a fixed number of rows, per image."""
        each = len(tensor) // self.count
        return tensor[self.start * each : self.stop * each]


WHOLE = Chunk(0, 1, 1)
"""The whole batch."""

Read = Callable[[Chunk], Tensor]
"""Reads one chunk of a tensor (B, heads, queries, keys)."""


class AttentionCall(Protocol):
    """One attention call of a pass: values weighted by softmax(q kᵀ), or by weights computed from it."""

    @property
    def fused(self) -> bool:
        """Whether one function computes the whole attention, so that the network never holds its weights."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""

    def weights(self, chunk: Chunk = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys) of a chunk of the images."""

    def begin(self) -> Tensor:
        """Start the graph here unless it has started. Returns the tensor at which this attention's gradient arrives."""

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the output, the weighted values."""

    def unfuse(self) -> None:
        """Compute the output by functions that can be differentiated twice."""

    def result(self) -> Any:
        """The output of the function that was called."""

    def watch(self, notify: Callable[[Read], None]) -> RemovableHandle:
        """Call ``notify`` in a backward pass with a reader of the gradient at the weights; the handle removes it."""


@dataclass
class SDPACall:
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
    _chunks: list[Tensor] = field(default_factory=list)
    """The output of the images whose weights were read, chunk by chunk."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""
        return _shape(self.query, self.key.mT)

    def weights(self, chunk: Chunk = WHOLE) -> Tensor:
        """softmax(q kᵀ · scale + mask), (B, heads, queries, keys); 0 for a query whose keys are all masked."""
        # The query is scaled: scaling the product would take another pass over all weights.
        logits = (chunk.of(self.query) * self.scale) @ self._rows(self.key, chunk).mT
        if self.bias is not None:
            bias = self._rows(self.bias, chunk)
            nothing = (bias == -math.inf).all(dim=-1, keepdim=True)
            return _with_heads((logits + bias).softmax(dim=-1).masked_fill(nothing, 0))
        weights = logits.softmax(dim=-1)
        if self.output is None:  # read during the pass: the output reuses these weights
            self._chunks.append(weights @ self._rows(self.value, chunk))
        return _with_heads(weights)

    def _rows(self, tensor: Tensor, chunk: Chunk) -> Tensor:
        """The rows of a chunk, or the whole tensor if all images share it."""
        is_each = tensor.ndim == self.query.ndim and len(tensor) == len(self.query)
        return chunk.of(tensor) if is_each else tensor

    def begin(self) -> Tensor:
        """Start the graph at the output."""
        output = self.result()
        self.output = output if output.requires_grad else _leaf(output)
        return self.output

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the output."""
        self.output = change(self.result())

    def unfuse(self) -> None:
        """Compute the output from the weights: fused attention has a first derivative only."""
        weights = self.weights().reshape(*self.query.shape[:-1], self.key.shape[-2])
        self._chunks.clear()
        self.output = weights @ self.value

    def result(self) -> Tensor:
        """The output of the function that was called."""
        if self.output is None:
            whole = sum(map(len, self._chunks)) == len(self.query)
            self.output = torch.cat(self._chunks) if whole else self.run()
            self._chunks.clear()
        return self.output

    def watch(self, notify: Callable[[Read], None]) -> RemovableHandle:
        """Call ``notify`` with ∂z/∂o vᵀ, o the output and v the values: the gradient at the weights."""

        def read(gradient: Tensor, chunk: Chunk) -> Tensor:
            return _with_heads(chunk.of(gradient) @ self._rows(self.value, chunk).mT)

        return _watched(self.result(), lambda gradient: notify(partial(read, gradient)))


@dataclass
class SoftmaxCall:
    """A softmax and its products with values. The network holds the weights, (B, heads, queries, keys) or (B, q, k).

    ``order`` permutes the axes of the network's tensor into this order.
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

    def weights(self, chunk: Chunk = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys)."""
        return _with_heads(chunk.of(self.tensor.permute(self.order)))

    def unfuse(self) -> None:
        """Do nothing: the call is not fused."""

    def begin(self) -> Tensor:
        """Start the graph at the weights."""
        self.tensor = self.tensor if self.tensor.requires_grad else _leaf(self.tensor)
        return self.tensor

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the output of every product with the weights."""
        self.then = change

    def result(self) -> Any:
        """The output of the function that was called."""
        return self.then(self.use(self.tensor))

    def watch(self, notify: Callable[[Read], None]) -> RemovableHandle:
        """Call ``notify`` with the gradient at the weights."""
        order = self.order  # not self, which would keep the weights alive

        def read(gradient: Tensor, chunk: Chunk) -> Tensor:
            return _with_heads(chunk.of(gradient.permute(order)))

        return _watched(self.tensor, lambda gradient: notify(partial(read, gradient)))


def _with_heads(weights: Tensor) -> Tensor:
    return weights if weights.ndim > 3 else weights[:, None]


def _shape(rows: Tensor, columns: Tensor) -> tuple[int, int, int, int]:
    """Sequences, heads, queries and keys, of tensors (…, heads, queries, any) and (…, any, keys)."""
    *sequences, heads, queries, _ = _with_heads(rows).shape
    return math.prod(sequences), heads, queries, columns.shape[-1]


def _watched(tensor: Tensor, notify: Callable[[Tensor], None]) -> RemovableHandle:
    handle: RemovableHandle = tensor.register_hook(notify)  # type: ignore[no-untyped-call]  # torch's own lacks it
    return handle


def _leaf(tensor: Tensor) -> Tensor:
    """A detached leaf at which the graph starts; turns gradients on."""
    torch.set_grad_enabled(True)
    return tensor.detach().requires_grad_()
