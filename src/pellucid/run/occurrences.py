"""A layer's maps on the image, from those of its runs and of its entries in the batch, each where it sees the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.models.discovery.profile import Place

Reasons = tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True, eq=False)
class Column:
    """Maps (B, K, *grid) of all classes, why some show nothing, and figures (B, K) to judge them by."""

    values: Tensor
    why: Reasons
    checks: Mapping[str, Tensor]
    is_on_image: bool


def on_image(places: Sequence[Place], each: Sequence[Column], size: Sequence[int]) -> Column:
    """One column of the occurrences of a layer."""
    values = put_together(places, [own.values for own in each], size, each[0].is_on_image)
    return Column(values, _why(values, each), each[0].checks if len(each) == 1 else {}, True)


def put_together(places: Sequence[Place], each: Sequence[Tensor], size: Sequence[int], are_on_image: bool) -> Tensor:
    """The maps (B, K, *grid) of the occurrences of a layer as one, differentiable.

    Occurrences that are the slices of the image, one each, are put together on their own grids. All others are drawn
    where they lie on the image, (B, K, *size), and added: each has a part of the evidence.
    """
    if are_on_image:
        return sum(each, torch.zeros(()))
    along = _axis_of_slices(places, size)
    if along is None:
        drawn = (place.view.drawn(own, size) for place, own in zip(places, each, strict=True))
        return sum(drawn, torch.zeros(()))
    order = sorted(range(len(places)), key=lambda number: places[number].view.member or 0)
    return torch.stack([each[number] for number in order], dim=2 + along)


def _axis_of_slices(places: Sequence[Place], size: Sequence[int]) -> int | None:
    """The axis of which each place is a slice, all of them once and on equal grids; None: they are no slices of one."""
    view = places[0].view
    if view.member is None or {place.view.along for place in places} != {view.along}:
        return None
    members = sorted(-1 if place.view.member is None else place.view.member for place in places)
    is_plain = all(not place.view.axes and place.layout.grid == places[0].layout.grid for place in places)
    return view.along if is_plain and members == list(range(size[view.along])) else None


def _why(values: Tensor, each: Sequence[Column]) -> Reasons:
    """Why maps show nothing: the reason that all occurrences have, or what the sum shows."""
    found = Attribution(values).why_degenerate()
    rows = []
    for b, row in enumerate(found):
        reasons = [{own.why[b][k] for own in each} for k in range(len(row))]
        rows.append(
            tuple(
                own if own is None or len(all_) > 1 else all_.copy().pop()
                for own, all_ in zip(row, reasons, strict=True)
            )
        )
    return tuple(rows)
