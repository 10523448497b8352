"""Random, a prior: a smooth random map of 7 × 7 cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_prior
from pellucid.core.method import MadeFrom, Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import OptionError


@register_prior("random")
@dataclass(frozen=True)
class Random(Method):
    """The prior that knows nothing: a random map.

    Each axis has ``cells`` cells (or as many as it has pixels, if these are fewer). They get the values 1/n … n/n in
    random order, n being their number, each at its central pixel; between these the map is linear along each axis, and
    beyond the outermost ones constant. So every cell has the peak equally often, and where it then is is known.

    The map is (B, 1, *space), the same for every image and class, and seeded by ``Runtime.seed``. It never asks the
    model and never sees the image. ``draw`` is the number of the random map that is shown. One draw says little:
    ``evaluate`` takes the mean of each metric over ``draws`` of them, and for the pointing game the exact probability.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images = resnet18(), torch.randn(1, 3, 70, 70)
    >>> masks = [{"boxes": [(0, 0, 70, 10)]}]  # a row of the 7 × 7 cells
    >>> pellucid.evaluate(model, images, "random", masks=masks, metrics=["pointing_game"])["pointing_game"]
    tensor([[0.1429]], dtype=torch.float64)
    """

    cells: int = 7
    draws: int = 100
    draw: int = 0

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False
    made_from: ClassVar[MadeFrom] = "nothing"

    def __post_init__(self) -> None:
        """Refuse numbers outside their range."""
        truths = any(isinstance(one, bool) for one in (self.cells, self.draws, self.draw))
        if truths or self.cells < 2 or self.draws < 1 or self.draw < 0:
            raise OptionError(
                "cells must be at least 2, draws at least 1 and draw at least 0, got "
                f"{self.cells}, {self.draws} and {self.draw}"
            )

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-blind
        """The maps (B, 1, *space)."""
        images = probe.inputs.images
        found = self.map_on(images.shape[2:], probe.generator().initial_seed(), self.draw).to(images.device)
        return Attribution(found.expand(len(images), 1, *found.shape))

    def many(self) -> int:
        """The number of draws that a mean is taken over."""
        return self.draws

    def drawn(self, number: int) -> Random:
        """The same prior with another draw."""
        return replace(self, draw=number)

    def map_on(self, space: Sequence[int], seed: int, draw: int) -> Tensor:
        """The map (*space) of a draw, float32."""
        grid = [min(self.cells, side) for side in space]
        count = math.prod(grid)
        found = (_orders(count, seed).of(draw).reshape(grid) + 1) / count
        for axis, side in enumerate(space):
            found = torch.tensordot(_weights(side, grid[axis]), found, dims=([1], [axis])).movedim(0, axis)
        return found

    def peaks(self, space: Sequence[int]) -> Tensor:
        """The pixels (cells of all axes, axes) at which the map's peak is equally often, as ``pointing.peaks`` has it.

        A cell at the border has its value up to the edge: its peak is the middle of these pixels.
        """
        along = []
        for side in space:
            centres = _centres(side, min(self.cells, side))
            ends = [0, *centres[1:]], [*centres[:-1], side - 1]
            along.append(torch.tensor([(low + high) // 2 for low, high in zip(*ends, strict=True)]))
        return torch.stack([axis.flatten() for axis in torch.meshgrid(*along, indexing="ij")], dim=1)


class _Orders:
    """The random orders of ``count`` cells, by the number of the draw.

    The generator's state after the last order is kept, so that N draws one after another cost N orders, and not the
    N² / 2 of starting from the seed each time. An earlier draw starts anew. It needs no lock: the number and the state
    are replaced together, so that threads, forks and interrupts find a state that belongs to its number.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._start = torch.Generator().manual_seed(seed).get_state()
        self._reached = (0, self._start)

    def of(self, draw: int) -> Tensor:
        """The order (count,) of a draw."""
        drawn, state = self._reached
        if draw < drawn:
            drawn, state = 0, self._start
        source = torch.Generator()
        source.set_state(state)
        for _ in range(draw + 1 - drawn):
            order = torch.randperm(self._count, generator=source, device="cpu")
        self._reached = (draw + 1, source.get_state())
        return order


@lru_cache(maxsize=16)  # a few sizes of images in turn
def _orders(count: int, seed: int) -> _Orders:
    """The orders of a seed, which later calls go on with."""
    return _Orders(count, seed)


def _centres(side: int, cells: int) -> list[int]:
    """The central pixel of each cell along an axis."""
    return [(2 * cell + 1) * side // (2 * cells) for cell in range(cells)]


def _weights(side: int, cells: int) -> Tensor:
    """The part (side, cells) that each cell has in each pixel along an axis."""
    centres = torch.tensor(_centres(side, cells))
    pixels = torch.arange(side).clamp(int(centres[0]), int(centres[-1]))
    after = torch.searchsorted(centres, pixels).clamp(min=1) if cells > 1 else torch.zeros_like(pixels)
    before = (after - 1).clamp(min=0)
    gap = (centres[after] - centres[before]).clamp(min=1)
    part = (pixels - centres[before]) / gap
    weights = torch.zeros(side, cells)
    weights.scatter_add_(1, before[:, None], 1 - part[:, None])
    return weights.scatter_add_(1, after[:, None], part[:, None])
