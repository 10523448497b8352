"""Arithmetic that the metrics of localisation share: what of a map lies in a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.metric import EMPTY_MASK, NO_MASK, Cases
from pellucid.errors import OptionError


def without_masks(cases: Cases) -> dict[str, Tensor]:
    """The cases that have no value: those without a mask, or whose mask is empty."""
    return {NO_MASK: ~cases.has_mask, EMPTY_MASK: ~cases.masks.flatten(1).any(1)}


def check_threshold(threshold: float) -> None:
    """Raise ``OptionError`` unless a threshold is a value that heatmaps can reach, without 0."""
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold must be above 0 and at most 1, got {threshold}")


def areas(cases: Cases, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of each case's map at ``threshold`` or above, those of its mask, and of both: (P,) float64 each."""
    high, mask = (cases.maps >= threshold).flatten(1), cases.masks.flatten(1)
    return high.sum(1).double(), mask.sum(1).double(), (high & mask).sum(1).double()


def share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide the part by the whole; 0 where there is no whole."""
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), torch.zeros_like(part))
