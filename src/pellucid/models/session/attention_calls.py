"""One attention call of a pass: its weights, output and gradient, a chunk of the images at a time."""

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
        """Their rows of a tensor whose first axis is the images, or so many rows for each."""
        each = len(tensor) // self.count
        return tensor[self.start * each : self.stop * each]


WHOLE = Chunk(0, 1, 1)
"""The whole batch."""

Read = Callable[[Chunk], Tensor]
"""Reads a tensor (B, heads, queries, keys), a chunk of the images at a time."""


class AttentionCall(Protocol):
    """One attention of a pass: values weighted by softmax(q kᵀ), or by what the network computes from that."""

    @property
    def fused(self) -> bool:
        """Whether one function computes all of it, so that its weights are held nowhere."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""

    def weights(self, chunk: Chunk = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys) of a chunk of the images."""

    def begin(self) -> Tensor:
        """Let the graph begin here, unless it has begun; the tensor at which this attention's gradient arrives."""

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the output, the weighted values."""

    def unfuse(self) -> None:
        """Compute the output by functions that can be differentiated twice."""

    def result(self) -> Any:
        """The output of the function that was called."""

    def watch(self, notify: Callable[[Read], None]) -> RemovableHandle:
        """Call ``notify`` in a backward pass with how to read the gradient at the weights; the handle removes that."""


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
        """softmax(q kᵀ · scale + mask), (B, heads, queries, keys); 0 where a mask leaves a query nothing."""
        # Scaling the product instead would take another pass over all weights.
        logits = (chunk.of(self.query) * self.scale) @ self._rows(self.key, chunk).mT
        if self.bias is not None:
            bias = self._rows(self.bias, chunk)
            nothing = (bias == -math.inf).all(dim=-1, keepdim=True)
            return _with_heads((logits + bias).softmax(dim=-1).masked_fill(nothing, 0))
        weights = logits.softmax(dim=-1)
        if self.output is None:  # read during the pass: then they need not be computed twice
            self._chunks.append(weights @ self._rows(self.value, chunk))
        return _with_heads(weights)

    def _rows(self, tensor: Tensor, chunk: Chunk) -> Tensor:
        """The rows of a chunk; of a tensor that is the same for all images, all of it."""
        is_each = tensor.ndim == self.query.ndim and len(tensor) == len(self.query)
        return chunk.of(tensor) if is_each else tensor

    def begin(self) -> Tensor:
        """Let the graph begin at the output."""
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
    """A softmax and products with it. The network holds the weights: (B, heads, queries, keys), or (B, queries, keys).

    ``order`` brings the axes of what the network holds into this order.
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
        """Nothing: it is not fused."""

    def begin(self) -> Tensor:
        """Let the graph begin at the weights."""
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
        order = self.order  # and not self, which holds the weights

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
    """Where the graph begins, with gradients on from here."""
    torch.set_grad_enabled(True)
    return tensor.detach().requires_grad_()
