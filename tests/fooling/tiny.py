"""A tiny network that learns in a second to tell bright squares from dark ones."""

from __future__ import annotations

from functools import cache

import torch
from benchmarks.fooling import Lessons
from torch import Tensor, nn
from torch.nn import functional as F

LAYER = "features.5"
SIDE = 16


class Tiny(nn.Module):
    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1),
            activation(),
            nn.Conv2d(8, 16, 3, 1, 1),
            activation(),
            nn.Conv2d(16, 16, 3, 1, 1),
            activation(),
        )
        self.head = nn.Linear(16, 2)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(images).mean((2, 3)))
        return found


def drawn(count: int, seed: int) -> tuple[Lessons, Tensor]:
    """Noise with a square of 4 × 4 pixels, bright or dark, away from the border, and its mask (N, H, W)."""
    source = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 1, SIDE, SIDE, generator=source)
    labels = torch.randint(2, (count,), generator=source)
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for index, (y, x) in enumerate(torch.randint(3, SIDE - 7, (count, 2), generator=source).tolist()):
        masks[index, y : y + 4, x : x + 4] = True
    images[:, 0] += masks * (2.0 * labels[:, None, None] - 1)
    return Lessons(images, labels), masks


def untrained(activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Tiny(activation).eval()


@cache
def trained() -> Tiny:
    network, (lessons, _) = untrained(), drawn(512, 1)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(150):
        part = slice(32 * (step % 16), 32 * (step % 16) + 32)
        optimiser.zero_grad()
        F.cross_entropy(network(lessons.images[part]), lessons.labels[part]).backward()
        optimiser.step()
    return network.requires_grad_(False)
