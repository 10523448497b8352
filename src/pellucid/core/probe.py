"""What a method may ask of a model. ``pellucid.models.engine`` answers; methods know only this."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pellucid.core.inputs import Images
from pellucid.core.target import Targets

GradientStep = Callable[[Tensor | None, Tensor, Tensor], Tensor]
"""(what came of the blocks before, None at first; this block's attention, and the score's gradient at it, both
(B, heads, T, T), of a few of the images at a time) → what comes of it."""

Step = Callable[[Tensor | None, Tensor], Tensor]
"""(what came of the parts before, None at first; this part of the network) → what comes of it.

A part is a block's attention (B, heads, T, T), of a few of the images at a time, or a layer's bias times its gradient
(B, 1, C, *grid).
"""


@dataclass(frozen=True)
class TokenGrid:
    """How T tokens lie on the picture: ``prefix`` that lie nowhere (class, register), the grid's, row by row, others.

    The scores are read off the tokens ``read`` that lie nowhere (a class token, a distillation token), and off the
    mean of the patches where ``of_patches`` is True. ``order`` says which patch lies at each cell, where they are not
    in their order.
    """

    grid: tuple[int, ...]
    prefix: int
    read: tuple[int, ...]
    of_patches: bool
    order: tuple[int, ...] = ()

    @property
    def class_token(self) -> bool:
        """Whether the scores are read off a token that lies nowhere."""
        return bool(self.read)

    def reading(self, like: Tensor) -> Tensor:
        """How much each of the tokens of (…, T) counts in what is read, (T,): all parts that are read count alike."""
        weights = like.new_zeros(like.shape[-1])
        weights[list(self.read)] = 1
        if self.of_patches:
            weights[self.prefix : self.prefix + math.prod(self.grid)] = 1 / math.prod(self.grid)
        return weights / (len(self.read) + self.of_patches)

    def places(self, row: Tensor) -> Tensor:
        """Values of the tokens (..., T) where they lie: (..., *grid)."""
        patches = row[..., self.prefix : self.prefix + math.prod(self.grid)]
        patches = patches[..., list(self.order)] if self.order else patches
        return patches.reshape(*row.shape[:-1], *self.grid)


class Probe(Protocol):
    """A view of one layer of one model. Views of one call share the forward pass and the gradients.

    The images that the call is about are passed through the network once, whatever is asked of them.
    Answers are float32 at least, also from a model in half precision.
    """

    @property
    def layer(self) -> str:
        """The layer's dotted name; "" for a view of the whole model."""

    @property
    def batch_size(self) -> int:
        """How many images a pass may take."""

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the runtime: the same in every call."""

    def scores(self, images: Images) -> Tensor:
        """Logits of the classes, (B, C)."""

    def activations(self, images: Images) -> Tensor:
        """The layer's output, (B, 1, C, *grid)."""

    def activations_and_gradients(self, images: Images, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output (B, 1, C, *grid), and the scores' gradients with respect to it (B, K, C, *grid)."""

    def attentions(self, images: Images, step: Step) -> tuple[Tensor, TokenGrid]:
        """Fold the attention blocks with ``step``, first block first, and say how the tokens lie.

        A block's attention is (B, heads, T, T), rows sum to 1. It is dropped after the step: however
        deep the network, one is held. Attention that pools the tokens into one is that of a first token.
        ``NoAttentionError``: there is none, or none that goes over the whole picture.
        """

    def token_grid(self, images: Images) -> TokenGrid:
        """How the tokens lie whose attention ``attentions`` and the like give."""

    def attentions_and_gradients(self, images: Images, targets: Targets, step: GradientStep) -> Tensor:
        """Fold the blocks' attention and the scores' gradients at it, *last* block first: (B, K, …).

        ``step`` answers with (B, …); it is run through once a class. One block's are held at a time.
        """

    def readouts(self, images: Images, targets: Targets, step: GradientStep) -> Tensor:
        """Fold the blocks' attention and gradients at it, first block first: (B, K, …).

        A block's gradient is that of the score which the network would give if the blocks after it passed on what
        they get; of attention that pools the tokens, of the score itself.
        """

    def input_gradients(self, images: Images, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""

    def curvature(self, images: Images, targets: Targets) -> Tensor:
        """H A: the scores' second derivatives at the layer's output A, times A, (B, K, C, *grid)."""

    def bias_gradients(self, images: Images, targets: Targets, step: Step) -> tuple[Tensor, Tensor]:
        """Fold bias × gradient of every layer that has a bias, and its sum over the network, (B, K).

        ``step`` is given (B, 1, C, *grid), a class and a layer at a time, where the layer's output has places, and
        answers with (B, 1, *space): what comes back is (B, K, *space).
        """

    def onward(self, image: Images) -> Callable[[Tensor], Tensor]:
        """What the network makes of other outputs of the layer: (N, C, *grid) → logits (N, classes).

        ``image`` is a batch of one. What comes before the layer is computed once, where the network allows that.
        """

    def guided(self) -> Probe:
        """The same, with input gradients that pass back through activation functions only where they are positive."""

    def conserving(self) -> Probe:
        """The same, with input gradients by AttnLRP's rules: images ⊙ gradient shares the score out among pixels."""

    def differentiable(self) -> Probe:
        """The same answers, with the graph of their computation back to the images and the parameters.

        What a method makes of them is differentiable where it runs under ``torch.enable_grad()``.
        """
