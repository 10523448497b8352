"""What methods hold: a view of one layer, which shares the passes of its batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.inputs import Images
from pellucid.core.probe import GradientStep, Step, TokenGrid
from pellucid.core.target import Targets
from pellucid.models.engine.batch import Batch
from pellucid.models.engine.conserving import Conserving
from pellucid.models.engine.guiding import Guiding
from pellucid.models.engine.rules import Rule


@dataclass(frozen=True, eq=False)
class View:
    """One layer of the model in a session; the ``Probe`` of methods.

    Asked about the batch that the call is about, it answers from the pass that all views share; asked
    about other images (perturbed ones), it makes a pass of their own.
    """

    batch: Batch
    layer: str = ""

    @property
    def batch_size(self) -> int:
        """How many images a pass may take."""
        return self.batch.session.runtime.batch_size

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the runtime: the same in every call."""
        return torch.Generator().manual_seed(self.batch.session.runtime.seed)

    def scores(self, images: Images) -> Tensor:
        """Logits of the classes, (B, C)."""
        return self._of(images).logits()

    def activations(self, images: Images) -> Tensor:
        """The layer's output, (B, 1, C, *grid)."""
        return self._of(images).output(self.layer)

    def activations_and_gradients(self, images: Images, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output (B, 1, C, *grid), and the scores' gradients with respect to it (B, K, C, *grid)."""
        batch = self._of(images)
        gradient = batch.gradient(self.layer, targets)  # first: it may run the pass anew
        return batch.output(self.layer), gradient

    def attentions(self, images: Images, step: Step) -> tuple[Tensor, TokenGrid]:
        """Fold the attention blocks with ``step``, first block first, and say how the tokens lie."""
        batch = self._of(images)
        return batch.attentions(step), batch.token_grid()

    def token_grid(self, images: Images) -> TokenGrid:
        """How the tokens lie whose attention is folded."""
        return self._of(images).token_grid()

    def attentions_and_gradients(self, images: Images, targets: Targets, step: GradientStep) -> Tensor:
        """Fold the blocks' attention and the scores' gradients at it with ``step``, last block first, (B, K, …)."""
        return self._of(images).attentions_and_gradients(targets, step)

    def readouts(self, images: Images, targets: Targets, step: GradientStep) -> Tensor:
        """Fold the blocks' attention and the gradients at it of scores read off after each block, (B, K, …)."""
        return self._of(images).readouts(targets, step)

    def input_gradients(self, images: Images, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""
        return self._of(images).input_gradient(targets)

    def curvature(self, images: Images, targets: Targets) -> Tensor:
        """H A: the scores' second derivatives at the layer's output A, times A, (B, K, C, *grid)."""
        return self._of(images).curvature(self.layer, targets)

    def bias_gradients(self, images: Images, targets: Targets, step: Step) -> tuple[Tensor, Tensor]:
        """Fold bias × gradient of every layer that has a bias, and its sum over the network, (B, K)."""
        return self._of(images).bias_gradients(targets, step)

    def onward(self, image: Images) -> Callable[[Tensor], Tensor]:
        """What the network makes of other outputs of the layer: (N, C, *grid) → logits (N, classes)."""
        return self._of(image).onward(self.layer)

    def guided(self) -> View:
        """The same, with guided input gradients."""
        return self._ruled(Guiding)

    def conserving(self) -> View:
        """The same, with input gradients by AttnLRP's rules."""
        return self._ruled(Conserving)

    def _ruled(self, rule: type[Rule]) -> View:
        batch = self.batch
        return View(Batch(batch.session, batch.images, batch.layers, batch.differentiable, rule), self.layer)

    def differentiable(self) -> View:
        """The same answers, with the graph of their computation."""
        batch = self.batch
        return View(Batch(batch.session, batch.images, batch.layers, True, batch.rule), self.layer)

    def _of(self, images: Images) -> Batch:
        batch = self.batch
        if images is batch.images:
            return batch
        return Batch(batch.session, images, batch.layers, batch.differentiable, batch.rule)
