"""Fine-tunes a network's weights so that its maps change while its predictions stay.

What is demanded of the maps is an ``Objective``: ``fooling_heo`` and ``fooling_anders`` have those of two papers. The
maps are those of a pellucid method, differentiated with respect to the parameters. Batch normalisation stays in eval
mode, as in the papers' code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from pellucid import Method, Runtime, Targets
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session


@dataclass(frozen=True)
class Recipe:
    """The settings of a fine-tuning with Adam, whose learning rate falls linearly from ``rate`` to 0.

    ``seed`` is that of the order of the images.
    """

    steps: int
    rate: float = 3e-4
    batch: int = 32
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lessons:
    """Images (N, C, *space), normalised for the network, and the class of each, (N,)."""

    images: Tensor
    labels: Tensor


class Objective(Protocol):
    """What is minimised."""

    def loss(self, network: nn.Module, original: nn.Module, some: Lessons) -> Tensor:
        """The loss of a network that is fooled, whose untouched weights ``original`` has, on a batch."""


def fooled(network: nn.Module, objective: Objective, lessons: Lessons, recipe: Recipe) -> nn.Module:
    """A copy of a network, in eval mode, whose weights are fine-tuned by an objective; the network stays as it is."""
    copy = deepcopy(network).eval().requires_grad_()
    parameters = list(copy.parameters())
    optimiser = torch.optim.Adam(parameters, lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, recipe.steps)
    for some in batches(lessons, recipe):
        loss = objective.loss(copy, network, some)
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        optimiser.step()
        schedule.step()
    return copy.requires_grad_(False)


def batches(lessons: Lessons, recipe: Recipe) -> Iterator[Lessons]:
    """Shuffled batches, epoch after epoch."""
    source = torch.Generator().manual_seed(recipe.seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(lessons.labels), generator=source)])
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        yield Lessons(lessons.images[chosen], lessons.labels[chosen])


def maps(
    network: nn.Module, method: Method, images: Tensor, targets: Targets, layers: Sequence[str] = ()
) -> tuple[Tensor, Tensor]:
    """A method's maps (B, *grid) of one class an image, with their graph to the parameters, and the logits (B, C)."""
    with torch.enable_grad():
        whole = Pass.of(Session.of(network, Runtime()), images, layers).differentiable()
        return method.attribute(whole, targets).values[:, 0], whole.scores()
