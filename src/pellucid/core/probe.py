"""The ``Probe`` protocol: what a method can compute of a model. ``pellucid.models.engine`` implements it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.core.rule import BackwardRule
from pellucid.core.target import Targets
from pellucid.core.view import View

Order = Literal["forward", "backward", "early_exit"]
"""The order in which attention blocks are folded, and the gradients used: see ``Probe.fold_attention``."""

Step = Callable[..., Tensor]
"""(result of the blocks before, None at first; this block's attention[, the score's gradient at it]) → new result.

Attention and gradient are (B, heads, T, T), of a few of the images at a time; the result is (B, …) of the same images.
"""


@dataclass(frozen=True)
class TokenGrid:
    """The layout of T tokens: ``prefix`` non-spatial tokens (class, register), the grid row by row, then others.

    The scores are read from the non-spatial tokens ``read`` (class token, distillation token), and from the mean of the
    patches if ``of_patches`` is True. ``order`` gives the token at each cell, counted after the prefix, if patches are
    not in row-major order, one after the other.
    """

    grid: tuple[int, ...]
    prefix: int
    read: tuple[int, ...]
    of_patches: bool
    order: tuple[int, ...] = ()

    @property
    def class_token(self) -> bool:
        """Whether the scores are read from a non-spatial token."""
        return bool(self.read)

    def reading(self, like: Tensor) -> Tensor:
        """Each token's weight in the scores, (T,): every token in ``read`` and the patches' mean count equally."""
        weights = like.new_zeros(like.shape[-1])
        weights[list(self.read)] = 1
        if self.of_patches:
            weights[list(self._patches)] = 1 / len(self._patches)
        return weights / (len(self.read) + self.of_patches)

    def spatial(self, row: Tensor) -> Tensor:
        """Values of the tokens (..., T) at their cells: (..., *grid)."""
        return row[..., list(self._patches)].reshape(*row.shape[:-1], *self.grid)

    @property
    def _patches(self) -> tuple[int, ...]:
        """The token at each cell, row by row."""
        return tuple(self.prefix + number for number in self.order or range(math.prod(self.grid)))


class Probe(Protocol):
    """One layer of one model, for one batch of inputs.

    Probes of one call share the forward pass and the gradients: all results for the same inputs cost one pass.
    For perturbed images use ``probe.on(images)``. Results are float32 at least, also from a model in half precision.
    """

    @property
    def inputs(self) -> Inputs:
        """The explained inputs; ``inputs.images`` is (B, C, *space)."""

    @property
    def batch_size(self) -> int:
        """The most images that a pass may have."""

    @property
    def view(self) -> View:
        """What the layer sees of the images: ``view.drawn(maps, space)`` brings its maps to them."""

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the runtime: the same in every call."""

    def on(self, images: Tensor | Inputs) -> Probe:
        """A new pass of other images (N, C, *space), at the same layer of the same model.

        Further inputs of the network stay as they are; those of a single image are repeated N times.
        """

    def differentiable(self) -> Probe:
        """The same probe, whose results keep their graph back to the images and the parameters.

        A method's results from it are differentiable if the method runs under ``torch.enable_grad()``.
        """

    def scores(self) -> Tensor:
        """Logits of the classes, (B, C)."""

    def activations(self, rectified: bool = False) -> Tensor:
        """The layer's output A, (B, 1, C, *grid).

        ``rectified`` gives what the network goes on with, for methods that are defined for A ≥ 0: relu(A), or
        ReLU6's min(relu(A), 6), where the output goes through such a function and nowhere else; A itself elsewhere.
        """

    def activations_and_gradients(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output (B, 1, C, *grid), and the scores' gradients with respect to it (B, K, C, *grid)."""

    def hvp(self, targets: Targets) -> Tensor:
        """H A, a Hessian-vector product: the scores' second derivatives at the layer's output A, times A.

        (B, K, C, *grid); H itself is never held.
        """

    def input_gradients(self, targets: Targets, rule: BackwardRule | None = None) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space), by a rule where one is given."""

    def fold_attention(self, step: Step, targets: Targets | None = None, order: Order = "forward") -> Tensor:
        """Fold the attention blocks with ``step``; one block's weights are held at a time, however deep the network.

        A block's attention is (B, heads, T, T), its rows sum to 1; attention that pools the tokens into one is given as
        the first token's. ``step`` gets chunks of the images.

        | order | first step | ``step`` gets | result |
        | --- | --- | --- | --- |
        | forward | first block | attention | (B, …) |
        | backward | last block | attention, the score's gradient at it | (B, K, …) |
        | early_exit | first block | attention, the gradient at it of the score read after the block | (B, K, …) |

        The score read after a block is the network's score if the blocks after it pass their input through.

        The last two need ``targets``; ``step`` then runs once per class.

        Raises:
            NoAttentionError: there is none, or none over the whole image.
        """

    def token_grid(self) -> TokenGrid:
        """The layout of the tokens whose attention ``fold_attention`` passes to ``step``."""

    def forward_from_layer(self) -> Callable[[Tensor], Tensor]:
        """The network from the layer on, for one image: other layer outputs (N, C, *grid) → logits (N, classes).

        The part before the layer is computed once, if the network allows that.
        """
