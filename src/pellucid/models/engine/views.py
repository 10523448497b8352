"""What methods hold: a view of one layer, which shares the passes of its batch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pellucid.core.probe import Images, Step, TokenGrid
from pellucid.core.target import Targets
from pellucid.models.engine.batch import Batch


@dataclass(frozen=True, eq=False)
class View:
    """One layer of the model in a session; the ``Probe`` of methods.

    Asked about the batch that the call is about, it answers from the pass that all views share; asked
    about other images (perturbed ones), it makes a pass of their own.
    """

    batch: Batch
    layer: str = ""

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
        return self._of(images).attentions(step)

    def input_gradients(self, images: Images, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""
        return self._of(images).input_gradient(targets)

    def differentiable(self) -> View:
        """The same answers, with the graph of their computation."""
        batch = self.batch
        return View(Batch(batch.session, batch.images, batch.layers, differentiable=True), self.layer)

    def _of(self, images: Images) -> Batch:
        if images is self.batch.images:
            return self.batch
        return Batch(self.batch.session, images, self.batch.layers, self.batch.differentiable)
