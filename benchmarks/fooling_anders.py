"""Fairwashing (Anders et al. 2020, arXiv:2007.09969): the predictions on the data stay, the gradients become others.

Data fill few of the directions that an image has. What a network computes off them is free, and with it its gradient
in those directions. ``Anders`` fine-tunes the weights; ``OffHyperplane`` is the paper's construction in closed form,
for data whose pixels obey a linear equation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.fooling import Lessons, maps
from pellucid import Method, Targets


@dataclass(frozen=True, eq=False)
class Anders:
    """The objective: the probabilities of the untouched network g, and the map of a target hᵗ.

    ``loss = (1 − α) · mean over images and classes of (p̃ − p)² + α · mean over images of Σ over pixels (h − hᵗ)²``,
    where p are probabilities (softmax), and h is the absolute map of the predicted class, divided by its sum.
    ``target``: hᵗ (H, W), not negative; it is divided by its sum, too. ``weight``: α.
    """

    method: Method
    target: Tensor
    weight: float

    def loss(self, network: nn.Module, original: nn.Module, some: Lessons) -> Tensor:
        """The loss on a batch."""
        with torch.no_grad():
            wanted = original(some.images).softmax(1)
        heat, logits = maps(network, self.method, some.images, Targets("predicted"))
        kept = (logits.softmax(1) - wanted).square().mean()
        moved = (shares(heat.abs()) - shares(self.target[None])).square().sum((1, 2)).mean()
        loss: Tensor = (1 - self.weight) * kept + self.weight * moved
        return loss


def shares(heat: Tensor) -> Tensor:
    """Maps (B, H, W) that are not negative, each divided by its sum."""
    return heat / heat.sum((1, 2), keepdim=True)


class OffHyperplane(nn.Module):
    """A network g whose gradients are changed where no data lie: g̃_k(x) = g_k(x) + Σ_p λ_kp (x_p − b_p).

    For data with x_p = b_p at all pixels where λ is not 0, g̃ = g, and the gradient of the logit k is that of g plus
    λ_k. ``slopes``: λ (classes, C, *space); ``level``: b, a number.
    """

    def __init__(self, network: nn.Module, slopes: Tensor, level: float) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("slopes", slopes)
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes)."""
        slopes = self.get_buffer("slopes").flatten(1)
        logits: Tensor = self.network(images) + (images - self.level).flatten(1) @ slopes.T
        return logits
