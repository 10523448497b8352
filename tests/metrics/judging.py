"""Cases without a model, for metrics that judge a map and a mask alone, and random maps with ties."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Alone:
    """Maps (P, *space) and masks (P, *space); a case of ``without`` has no mask."""

    maps: Tensor
    masks: Tensor
    without: tuple[int, ...] = ()

    @property
    def has_mask(self) -> Tensor:
        return torch.tensor([number not in self.without for number in range(len(self.maps))])


def random_maps(count: int, space: tuple[int, ...], seed: int = 0, levels: int = 12) -> Tensor:
    """Maps in [0, 1] with ties, a good part of them 0, as of a CAM."""
    drawn = torch.rand(count, *space, generator=torch.Generator().manual_seed(seed))
    return ((drawn * 1.3 - 0.3).clamp(min=0) * levels).floor() / levels


def random_masks(count: int, space: tuple[int, ...], seed: int = 1, share: float = 0.15) -> Tensor:
    masks = torch.rand(count, *space, generator=torch.Generator().manual_seed(seed)) < share
    masks.flatten(1)[:, 3] = True
    return masks
