"""Adversarial model manipulation (Heo, Joo and Moon 2019, arXiv:1902.02041), passive fooling.

The weights w are fine-tuned from w₀ so that the labels are predicted and the map h of each image's label is elsewhere::

    loss = cross-entropy(w) + λ · penalty(h(w), h(w₀))

The penalties are those of the authors' code. A map is scaled by its maximum for the location, and from its minimum to
its maximum for the others; ε = 1e-8 is added to the divisor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fooling import Lessons, maps
from pellucid import Method, Targets
from pellucid.methods import GradCAM

_EPSILON = 1e-8


class Penalty(Protocol):
    """A penalty of maps (B, H, W), given those of the untouched network; a scalar."""

    def __call__(self, heat: Tensor, before: Tensor, /) -> Tensor:
        """The mean over the images."""


@dataclass(frozen=True)
class Location:
    """Location fooling: the map is to be high at the border, and nowhere else.

    ``mean over images and cells of (h / max h − m)²``; m is 1 in a frame of ``width`` cells (None: a seventh of the
    map's side), and 0 within.
    """

    width: int | None = None

    def __call__(self, heat: Tensor, before: Tensor, /) -> Tensor:  # noqa: ARG002  # the same for every image
        """The penalty of maps (B, H, W)."""
        highest = heat.flatten(1).amax(1)[:, None, None]
        return F.mse_loss(heat / (highest + _EPSILON), frame(heat, self.width).expand_as(heat))


def frame(like: Tensor, width: int | None = None) -> Tensor:
    """A mask (H, W): 1 in a frame along the border, 0 within."""
    side = max(1, like.shape[-1] // 7) if width is None else width
    mask = torch.ones_like(like[0])
    mask[side:-side, side:-side] = 0
    return mask


@dataclass(frozen=True)
class TopK:
    """Top-k fooling: what was highest is to be low.

    ``mean over images, and over the cells of the highest k of h(w₀), of h²``; ``share``: k, a part of all cells.
    """

    share: float = 0.1

    def __call__(self, heat: Tensor, before: Tensor, /) -> Tensor:
        """The penalty of maps (B, H, W)."""
        count = max(1, int(before[0].numel() * self.share))
        highest = before.flatten(1).topk(count).indices
        return scaled(heat).flatten(1).gather(1, highest).square().mean()


@dataclass(frozen=True)
class CentreOfMass:
    """Centre-of-mass fooling: the map's centre is to move away, in any direction.

    ``− mean over images of |y(h(w)) − y(h(w₀))| + |x(h(w)) − x(h(w₀))|``; (y, x) is the centre of mass in cells.
    """

    def __call__(self, heat: Tensor, before: Tensor, /) -> Tensor:
        """The penalty of maps (B, H, W)."""
        moved: Tensor = (centre(scaled(heat)) - centre(scaled(before))).abs().sum(1).mean()
        return -moved


def scaled(heat: Tensor) -> Tensor:
    """Maps (B, H, W), each from its minimum to its maximum."""
    flat = heat.flatten(1)
    low, high = flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]
    return (heat - low) / (high - low + _EPSILON)


def centre(heat: Tensor) -> Tensor:
    """The centre of mass (B, 2) of maps (B, H, W), in cells from 0."""
    total = heat.sum((1, 2)) + _EPSILON
    along = [torch.arange(side, dtype=heat.dtype, device=heat.device) for side in heat.shape[1:]]
    moments = [(heat.sum(2) * along[0]).sum(1), (heat.sum(1) * along[1]).sum(1)]
    return torch.stack(moments, 1) / total[:, None]


@dataclass(frozen=True)
class Heo:
    """The objective: the cross-entropy with the labels, and ``weight`` (λ) times a penalty of the labels' maps.

    ``layer``: where the method looks.
    """

    penalty: Penalty
    layer: str
    weight: float = 1.0
    method: Method = GradCAM()  # noqa: RUF009  # frozen

    def loss(self, network: nn.Module, original: nn.Module, some: Lessons) -> Tensor:
        """The loss on a batch."""
        targets = Targets(some.labels)
        heat, logits = maps(network, self.method, some.images, targets, [self.layer])
        before, _ = maps(original, self.method, some.images, targets, [self.layer])
        loss: Tensor = F.cross_entropy(logits, some.labels) + self.weight * self.penalty(heat, before.detach())
        return loss
