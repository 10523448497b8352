"""The model of an evaluation: images as it takes them, its probabilities, and maps of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.errors import OptionError
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.session.thread_state import kept
from pellucid.priors.centre import Centre
from pellucid.run.explainer import Explainer
from pellucid.run.opening import opened
from pellucid.run.remade import Remaker
from pellucid.run.targets import targets_of


@dataclass(frozen=True, eq=False)
class Predicted:
    """Probabilities (B, C) of the classes, whose names are ``classes``; ``independent``: of several findings."""

    probabilities: Tensor
    classes: tuple[str, ...]
    head: str

    @property
    def independent(self) -> bool:
        """Whether the classes do not exclude one another."""
        return not torch.allclose(self.probabilities.sum(1), torch.ones(()), atol=1e-3)


@dataclass(frozen=True, eq=False)
class Network:
    """A model with all that a map of it depends on but the method."""

    model: nn.Module
    preprocessing: Preprocessing
    classes: Sequence[str] | None = None
    head: str = "auto"
    output: str | int | None = None
    runtime: Runtime = field(default_factory=Runtime)

    def predicted(self, images: Tensor) -> Predicted:
        """What the model predicts for a batch (B, C, *space), by one pass.

        Raises:
            OptionError: its outputs are values.
        """
        found = self.explainer(Centre())(images, 0)  # a prior's maps cost nothing beyond the pass
        if not found.has_probabilities:
            raise OptionError(
                "an evaluation was asked for; the model's outputs are values, and findings belong to classes: give the "
                "head of a classifier"
            )
        names = found.classes or tuple(map(str, range(found.probabilities.shape[1])))
        return Predicted(found.probabilities.cpu(), tuple(names), found.head)

    def explainer(self, method: str | Method) -> Explainer:
        """What makes a method's maps."""
        return Explainer(
            self.model, method, classes=self.classes, head=self.head, output=self.output, runtime=self.runtime
        )

    def untrained(self, method: Method, images: Tensor, classes: Tensor) -> Explanation:
        """The maps of classes (B, 1) of the same network with random weights in all layers, at the same layers.

        They are drawn as each layer's type initialises them, from the runtime's seed. The model is left alone.
        """
        explainer, inputs = self.explainer(method), Inputs.of(images)
        request = targets_of(classes, None, inputs)

        def work() -> Explanation:
            at = opened(self.model, inputs, self.runtime, self.head, self.output)
            maker = Remaker.of(explainer, at.session, at.image)
            (_, random), *_rest = maker.randomised(at.image, "all", self.runtime.seed)
            return random.explained(at.inputs, at.read(request))

        return kept(work)

    def of_head(self, head: str) -> Network:
        """The same network, whose head is known: what was found or assumed is said once."""
        return replace(self, head=head)
