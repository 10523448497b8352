"""What a method may ask of a model. ``pellucid.models.engine`` answers; methods know only this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from pellucid.core.target import Targets

Images = Tensor | Mapping[str, Tensor]
"""A batch (B, C, *space), or a mapping of names to tensors of which the first is explained."""

Step = Callable[[Tensor | None, Tensor], Tensor]
"""(what came of the blocks before, None at first; this block's attention (B, heads, T, T)) → what comes of it."""


@dataclass(frozen=True)
class TokenGrid:
    """How T tokens lie on the picture: ``prefix`` that lie nowhere (class, register), then the grid, row by row.

    ``class_token`` says whether the scores are read off the first token; else they are off the patches.
    """

    grid: tuple[int, ...]
    prefix: int
    class_token: bool


class Probe(Protocol):
    """A view of one layer of one model. Views of one call share the forward pass and the gradients.

    The images that the call is about are passed through the network once, whatever is asked of them.
    Answers are float32 at least, also from a model in half precision.
    """

    @property
    def layer(self) -> str:
        """The layer's dotted name; "" for a view of the whole model."""

    def scores(self, images: Images) -> Tensor:
        """Logits of the classes, (B, C)."""

    def activations(self, images: Images) -> Tensor:
        """The layer's output, (B, 1, C, *grid)."""

    def activations_and_gradients(self, images: Images, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output (B, 1, C, *grid), and the scores' gradients with respect to it (B, K, C, *grid)."""

    def attentions(self, images: Images, step: Step) -> tuple[Tensor, TokenGrid]:
        """Fold the attention blocks with ``step``, first block first, and say how the tokens lie.

        A block's attention is (B, heads, T, T), rows sum to 1. It is dropped after the step: however
        deep the network, one is held.
        """

    def input_gradients(self, images: Images, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""

    def differentiable(self) -> Probe:
        """The same answers, with the graph of their computation back to the images and the parameters.

        What a method makes of them is differentiable where it runs under ``torch.enable_grad()``.
        """
