"""Which entry of a batch sees which part of the images, by gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.models.discovery.noise import noise_like

_FAINT = 0.05
"""Values with a gradient of less than this fraction of the largest count as not seen."""
_MOST_FOLLOWED = 64
"""The most entries that are followed one by one where they share statistics."""


def entries_of(images: Tensor, frame: Tensor) -> Tensor:
    """Which entry of ``frame`` (N, C, *frame) sees each value of the images; −1: none does, −2: several do."""
    # In reverse, since noise like the images' own would follow their statistics.
    weights = noise_like(frame).sign().flatten().flip(0).view_as(frame)
    numbers = torch.arange(1, len(frame) + 1, device=frame.device).view(-1, *(1,) * (frame.ndim - 1))
    once, counted = (gradient_of(weights * frame * factor, images).float() for factor in (1, numbers))
    seen = once.abs() > _FAINT * once.abs().amax()
    ratio = torch.where(seen, counted / torch.where(seen, once, torch.ones_like(once)), 1.0)
    if bool(((ratio - ratio.round()).abs() <= 0.05).all()) or len(frame) > _MOST_FOLLOWED:
        alone = (ratio - ratio.round()).abs() <= 0.05
        return torch.where(seen, torch.where(alone, ratio.round() - 1, -2.0), -1.0).long()
    return _strongest(images, [weights[number] * frame[number] for number in range(len(frame))])


def _strongest(images: Tensor, entries: Sequence[Tensor]) -> Tensor:
    """The entry that sees each value most, where others see it only through statistics, such as the mean of all."""
    first = second = torch.zeros_like(images, dtype=torch.float32)
    owners = torch.full_like(first, -1, dtype=torch.long)
    for number, entry in enumerate(entries):
        size = gradient_of(entry, images).float().abs()
        owners = torch.where(size > first, number, owners)
        second = torch.where(size > first, first, torch.maximum(second, size))
        first = torch.maximum(first, size)
    owners = torch.where(second > first / 3, -2, owners)
    return torch.where(first > _FAINT * first.amax(), owners, -1)


def indices_seen(owners: Tensor, axis: int) -> list[int] | None:
    """The indices of an axis that entries see, where each entry sees one alone, and no index is seen by two.

    None elsewhere, and where nothing is seen.
    """
    if bool((owners == -2).any()):
        return None
    found = entry_of_member(owners, axis, check=True)
    known = found[found >= 0]
    is_alone = not bool((found == -2).any()) and len(known) > 0 and len(set(known.tolist())) == len(known)
    return (found >= 0).any(dim=0).nonzero().flatten().tolist() if is_alone else None


def entry_of_member(owners: Tensor, axis: int, check: bool = False) -> Tensor:
    """The entry that sees each index of an axis, (B, S); −1: none does; with ``check``, −2: several do."""
    rows = owners.movedim(axis, 1).flatten(2)
    most = rows.amax(dim=2)
    several = ((rows >= 0) & (rows != most.unsqueeze(2))).any(dim=2)
    return torch.where(several, -2, most) if check else most


def gradient_of(values: Tensor, images: Tensor) -> Tensor:
    """The gradient of the sum of some values with respect to the images; zeros where they do not depend on them."""
    (found,) = torch.autograd.grad(values.sum(), images, retain_graph=True, allow_unused=True)
    return torch.zeros_like(images) if found is None else found
