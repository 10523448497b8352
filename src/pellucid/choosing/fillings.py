"""What takes the place of pixels that are taken out: blurs, the mean, noise, inpainting, tissue of other patients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.imputation import imputed
from pellucid.core.replacement import averaged, blurred

_BLURS = (8, 16, 32)
"""The standard deviations of the blurs are a side divided by these."""
_FRAME = 16
"""Where every pixel is to be inpainted, a frame of a side divided by this is left: something must be known."""


class Filled(ABC):
    """N images (N, C, *space) whose pixels one replacement can take out, in ``draws`` variants."""

    draws: int = 1

    @abstractmethod
    def whole(self, draw: int) -> Tensor:
        """The images with every pixel replaced, (N, C, *space)."""

    @abstractmethod
    def without(self, holes: Tensor, draw: int) -> Tensor:
        """The images with the pixels of holes (N, *space) bool replaced."""

    def within(self, kept: Tensor, draw: int) -> Tensor:
        """The images with every pixel replaced but those that are kept, (N, *space) bool."""
        return self.without(~kept, draw)


@dataclass(frozen=True, eq=False)
class StandIn(Filled):
    """Pixels are taken from other images (draws, N, C, *space), at the same place."""

    images: Tensor
    others: Tensor

    @property
    def draws(self) -> int:  # type: ignore[override]  # as many as there are others
        """The number of other images for each."""
        return len(self.others)

    def whole(self, draw: int) -> Tensor:
        """The other images."""
        return self.others[draw]

    def without(self, holes: Tensor, draw: int) -> Tensor:
        """The images with the others' pixels in the holes."""
        return torch.where(holes[:, None], self.others[draw], self.images)


@dataclass(frozen=True, eq=False)
class Inpainted(Filled):
    """Pixels are made of those around them, by a function of images and what they miss (N, *space)."""

    images: Tensor
    function: Callable[[Tensor, Tensor], Tensor]

    def whole(self, draw: int) -> Tensor:
        """The images made of their outermost frame, which is left."""
        return self.without(torch.ones_like(self.images[:, 0], dtype=torch.bool), draw)

    def without(self, holes: Tensor, draw: int) -> Tensor:  # noqa: ARG002  # there is one
        """The images with their holes inpainted; of images without any pixel left, but for a frame."""
        empty = holes.flatten(1).all(1).reshape(-1, *(1,) * (holes.ndim - 1))
        return self.function(self.images, torch.where(empty, holes & _inner(holes), holes))


Filling = Callable[[Tensor, Tensor], Filled]
"""(images (N, C, *space), their numbers (N,)) → the images with a replacement."""


def named(seed: int) -> dict[str, Filling]:
    """The replacements that need nothing but the images, by name."""
    found: dict[str, Filling] = {f"blur 1/{cells}": _blur(cells) for cells in _BLURS}
    found["mean"] = lambda images, _numbers: StandIn(images, averaged(images)[None])
    found["noise"] = lambda images, numbers: StandIn(images, _noise(images, numbers, seed)[None])
    found["inpainting"] = lambda images, _numbers: Inpainted(images, imputed)
    return found


def from_others(others: Tensor, chosen: Tensor) -> Filling:
    """Tissue of other images (R, C, *space): those that are chosen for each image, (images, draws)."""

    def filled(images: Tensor, numbers: Tensor) -> Filled:
        return StandIn(images, others[chosen[numbers.cpu()].T].to(images))

    return filled


def same_scenes(others: Tensor) -> Filling:
    """The same scenes without the finding, (images, C, *space)."""
    return lambda images, numbers: StandIn(images, others[numbers.cpu()].to(images)[None])


def _blur(cells: int) -> Filling:
    return lambda images, _numbers: StandIn(images, blurred(images, cells)[None])


def _noise(images: Tensor, numbers: Tensor, seed: int) -> Tensor:
    """Normal noise with each image's mean and standard deviation, a channel; the same whatever else is in the batch."""
    space = tuple(range(2, images.ndim))
    drawn = [
        torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed * 1_000_003 + number))
        for number in numbers.tolist()
    ]
    noise = torch.stack(drawn).to(images)
    return images.mean(space, keepdim=True) + images.std(space, keepdim=True) * noise


def _inner(holes: Tensor) -> Tensor:
    """All pixels (N, *space) but a frame."""
    inner = torch.zeros_like(holes)
    sides = [max(1, side // _FRAME) for side in holes.shape[1:]]
    inner[(slice(None), *(slice(width, -width) for width in sides))] = True
    return inner


def squares(space: Sequence[int], count: int, area: float, generator: torch.Generator) -> Tensor:
    """One hole for each of ``count`` images: a box of that share of the image at a random place, (count, *space)."""
    sides = [max(1, round(side * area ** (1 / len(space)))) for side in space]
    holes = torch.zeros((count, *space), dtype=torch.bool)
    for hole in holes:
        hole[tuple(_part(side, length, generator) for side, length in zip(space, sides, strict=True))] = True
    return holes


def _part(side: int, length: int, generator: torch.Generator) -> slice:
    start = int(torch.randint(side - length + 1, (), generator=generator))
    return slice(start, start + length)
