"""One attention of a pass: its weights, what they weigh, and the gradient at them, a part of the images at a time."""

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
class Part:
    """Images ``start`` to ``stop`` of a batch of ``count``."""

    start: int
    stop: int
    count: int

    def of(self, tensor: Tensor) -> Tensor:
        """Their rows of a tensor whose first axis is the images, or so many rows for each."""
        each = len(tensor) // self.count
        return tensor[self.start * each : self.stop * each]


WHOLE = Part(0, 1, 1)
"""The whole batch."""

Reading = Callable[[Part], Tensor]
"""Something of (B, heads, queries, keys), a part of the images at a time."""


class Weighing(Protocol):
    """One attention of a pass: values weighed by softmax(q kᵀ), or by what the network makes of that."""

    @property
    def fused(self) -> bool:
        """Whether one function computed all of it, so that its weights are held nowhere."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""

    def weights(self, part: Part = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys) of a part of the images."""

    def begin(self) -> Tensor:
        """Let the graph begin here, unless it has begun: a tensor that this attention is seen by."""

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change what becomes of the values."""

    def result(self) -> Any:
        """What the function that was called answers."""

    def watch(self, told: Callable[[Reading], None]) -> RemovableHandle:
        """Be told how to read the gradient at the weights, in a backward pass; the handle removes that."""


@dataclass
class Fused:
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
    _parts: list[Tensor] = field(default_factory=list)
    """The output of the images whose weights were asked for, one part behind the other."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Sequences, heads, queries, keys."""
        return _shape(self.query, self.key.mT)

    def weights(self, part: Part = WHOLE) -> Tensor:
        """softmax(q kᵀ · scale + mask), (B, heads, queries, keys); 0 where a mask leaves a query nothing."""
        # To scale the product would take a pass over all weights.
        logits = (part.of(self.query) * self.scale) @ self._rows(self.key, part).mT
        if self.bias is not None:
            bias = self._rows(self.bias, part)
            nothing = (bias == -math.inf).all(dim=-1, keepdim=True)
            return _with_heads((logits + bias).softmax(dim=-1).masked_fill(nothing, 0))
        weights = logits.softmax(dim=-1)
        if self.output is None:  # asked during the pass: then the weights need not be computed twice
            self._parts.append(weights @ self._rows(self.value, part))
        return _with_heads(weights)

    def _rows(self, tensor: Tensor, part: Part) -> Tensor:
        """A part of what the queries are weighed with; of what is the same for all images, all."""
        is_each = tensor.ndim == self.query.ndim and len(tensor) == len(self.query)
        return part.of(tensor) if is_each else tensor

    def begin(self) -> Tensor:
        """Let the graph begin at the output."""
        output = self.result()
        self.output = output if output.requires_grad else _leaf(output)
        return self.output

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the output."""
        self.output = change(self.result())

    def result(self) -> Tensor:
        """What the function answers."""
        if self.output is None:
            whole = sum(map(len, self._parts)) == len(self.query)
            self.output = torch.cat(self._parts) if whole else self.run()
            self._parts.clear()
        return self.output

    def watch(self, told: Callable[[Reading], None]) -> RemovableHandle:
        """Be told ∂z/∂o vᵀ, with o the output and v the values: the gradient at the weights."""

        def read(gradient: Tensor, part: Part) -> Tensor:
            return _with_heads(part.of(gradient) @ self._rows(self.value, part).mT)

        return _watched(self.result(), lambda gradient: told(partial(read, gradient)))


@dataclass
class Plain:
    """A softmax whose weights the network holds itself: (B, heads, queries, keys), or (B, queries, keys).

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

    def weights(self, part: Part = WHOLE) -> Tensor:
        """The weights (B, heads, queries, keys)."""
        return _with_heads(part.of(self.tensor.permute(self.order)))

    def begin(self) -> Tensor:
        """Let the graph begin at the weights."""
        self.tensor = self.tensor if self.tensor.requires_grad else _leaf(self.tensor)
        return self.tensor

    def changed(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change what every product with the weights answers."""
        self.then = change

    def result(self) -> Any:
        """What the function answers."""
        return self.then(self.use(self.tensor))

    def watch(self, told: Callable[[Reading], None]) -> RemovableHandle:
        """Be told the gradient at the weights."""
        order = self.order  # and not self, which holds the weights

        def read(gradient: Tensor, part: Part) -> Tensor:
            return _with_heads(part.of(gradient.permute(order)))

        return _watched(self.tensor, lambda gradient: told(partial(read, gradient)))


def _with_heads(weights: Tensor) -> Tensor:
    return weights if weights.ndim > 3 else weights[:, None]


def _shape(rows: Tensor, columns: Tensor) -> tuple[int, int, int, int]:
    """Sequences, heads, queries and keys, of tensors (…, heads, queries, any) and (…, any, keys)."""
    *sequences, heads, queries, _ = _with_heads(rows).shape
    return math.prod(sequences), heads, queries, columns.shape[-1]


def _watched(tensor: Tensor, told: Callable[[Tensor], None]) -> RemovableHandle:
    handle: RemovableHandle = tensor.register_hook(told)  # type: ignore[no-untyped-call]  # torch's own lacks it
    return handle


def _leaf(tensor: Tensor) -> Tensor:
    """Where the graph begins, with gradients on from here."""
    torch.set_grad_enabled(True)
    return tensor.detach().requires_grad_()
