"""A probe as what an attack asks, without a normalisation: the published attack works on the model's input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.answer import Answer
from pellucid.core.attack import Objective, Outputs, Slope, no_maps
from pellucid.core.head import over_places
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import GradientError, TargetError


@dataclass(frozen=True, eq=False)
class OfProbe:
    """A ``Subject`` of a probe's images, each with a range of its own, whose answer is one class of all."""

    probe: Probe
    low: Tensor
    high: Tensor
    answer: Answer

    @classmethod
    def of(cls, probe: Probe, labels: Tensor | None) -> OfProbe:
        """The images of a probe; ``labels`` (B,), by default the prediction."""
        logits = over_places(probe.scores())
        if not torch.isfinite(logits).all():
            raise GradientError(
                "an attack was asked for; the model's scores are not finite: leave images out, or mend the weights"
            )
        chosen = logits.argmax(dim=1) if labels is None else labels.to(logits.device)
        if ((chosen < 0) | (chosen >= logits.shape[1])).any():
            raise TargetError(f"labels {chosen.tolist()} were given; the model has {logits.shape[1]} classes, from 0")
        # A copy, since tensors created under inference_mode cannot be part of a graph.
        return cls(probe, *_range(probe.inputs.images), Answer.of("softmax", chosen.clone(), logits))

    @property
    def pixels(self) -> Tensor:
        """The probe's images."""
        return self.probe.inputs.images

    @property
    def widest(self) -> float:
        """Infinite: the input may be normalised by anything."""
        return math.inf

    def logits(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """The logits of changed images."""
        return self._at(pixels, rows).scores()

    def outputs(self, pixels: Tensor, rows: Tensor) -> Outputs:
        """The logits of changed images, without maps."""
        return Outputs(rows, self.logits(pixels, rows), no_maps)

    def slope(self, pixels: Tensor, rows: Tensor, objective: Objective, beta: float | None = None) -> Slope:  # noqa: ARG002  # without maps the network needs no stand-in
        """An objective of the logits, and its gradients."""
        probe, values = self._at(pixels, rows), list[Tensor]()
        scored = scored_by(objective, rows, values)
        gradients = probe.input_gradients(Targets(scored))[:, 0]
        return Slope(values[-1], gradients, probe.scores())

    def _at(self, pixels: Tensor, rows: Tensor) -> Probe:
        others = self.probe.inputs.map_each(lambda tensor: tensor[rows.to(tensor.device)])
        return self.probe.on(others.with_images(pixels))


def scored_by(objective: Objective, rows: Tensor, values: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """An objective of the logits alone as a callable target, which keeps its values in ``values``."""

    def scored(logits: Tensor) -> Tensor:
        found = objective(Outputs(rows, logits, no_maps))
        values.append(found.detach())
        return found

    return scored


def _range(images: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest allowed value of each image, (B, 1, …)."""
    axes = tuple(range(1, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    unit = (low >= 0) & (high <= 1)
    return torch.where(unit, torch.zeros_like(low), low), torch.where(unit, torch.ones_like(high), high)
