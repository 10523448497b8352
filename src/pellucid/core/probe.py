"""What a method may ask of a model. ``pellucid.models.engine`` implements it; methods know only this."""

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

Order = Literal["forward", "backward", "early_exit"]
"""In which order attention blocks are folded, and with which gradients: see ``Probe.fold_attention``."""

Step = Callable[..., Tensor]
"""(result of the blocks before, None at first; this block's attention[, the score's gradient at it]) → new result.

Attention and gradient are (B, heads, T, T), of a few of the images at a time; the result is (B, …) of the same images.
"""


@dataclass(frozen=True)
class TokenGrid:
    """How T tokens lie on the image: ``prefix`` non-spatial tokens (class, register), the grid row by row, then others.

    The scores are read off the non-spatial tokens ``read`` (class token, distillation token), and off the mean of the
    patches where ``of_patches`` is True. ``order`` gives the patch at each cell, where patches are not in row order.
    """

    grid: tuple[int, ...]
    prefix: int
    read: tuple[int, ...]
    of_patches: bool
    order: tuple[int, ...] = ()

    @property
    def class_token(self) -> bool:
        """Whether the scores are read off a non-spatial token."""
        return bool(self.read)

    def reading(self, like: Tensor) -> Tensor:
        """The weight of each token of (…, T) in what the scores are read off, (T,): all parts count alike."""
        weights = like.new_zeros(like.shape[-1])
        weights[list(self.read)] = 1
        if self.of_patches:
            weights[self.prefix : self.prefix + math.prod(self.grid)] = 1 / math.prod(self.grid)
        return weights / (len(self.read) + self.of_patches)

    def spatial(self, row: Tensor) -> Tensor:
        """Values of the tokens (..., T) at their cells: (..., *grid)."""
        patches = row[..., self.prefix : self.prefix + math.prod(self.grid)]
        patches = patches[..., list(self.order)] if self.order else patches
        return patches.reshape(*row.shape[:-1], *self.grid)


class Probe(Protocol):
    """One layer of one model, asked about one batch of inputs.

    Probes of one call share the forward pass and the gradients: whatever is asked of the same inputs costs one pass.
    For perturbed images ask ``probe.on(images)``. Results are float32 at least, also from a model in half precision.
    """

    @property
    def inputs(self) -> Inputs:
        """What is explained; ``inputs.images`` is (B, C, *space)."""

    @property
    def batch_size(self) -> int:
        """How many images a pass may take."""

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the runtime: the same in every call."""

    def on(self, images: Tensor | Inputs) -> Probe:
        """The same layer and model, asked about other images (N, C, *space): a pass of its own.

        Further inputs of the network stay as they are; those of a single image are repeated N times.
        """

    def differentiable(self) -> Probe:
        """The same, with the graph of the computation back to the images and the parameters.

        What a method computes from it is differentiable where it runs under ``torch.enable_grad()``.
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

        A block's attention is (B, heads, T, T), rows sum to 1; attention that pools the tokens into one is that of a
        first token. ``step`` gets chunks of the images.

        | order | first step | ``step`` gets | result |
        | --- | --- | --- | --- |
        | forward | first block | attention | (B, …) |
        | backward | last block | attention, the score's gradient at it | (B, K, …) |
        | early_exit | first block | attention, the gradient at it of the score read off after the block | (B, K, …) |

        The score read off after a block is what the network would give if the blocks after it passed on their input.

        The last two need ``targets``; ``step`` is then run through once a class.

        Raises:
            NoAttentionError: there is none, or none over the whole image.
        """

    def token_grid(self) -> TokenGrid:
        """How the tokens lie whose attention ``fold_attention`` gives."""

    def forward_from_layer(self) -> Callable[[Tensor], Tensor]:
        """The network from the layer on, of one image: other outputs of the layer (N, C, *grid) → logits (N, classes).

        What comes before the layer is computed once, where the network allows that.
        """
