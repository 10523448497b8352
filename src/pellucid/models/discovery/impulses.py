"""Where layers change most if a part of an image is changed: in its middle, and towards each of its corners."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations, product

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs, chunks
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.hooks import first_tensor, watched
from pellucid.models.session.session import Session

IMAGES = 2
"""The noise images that are changed, one after the other."""
_ENDS = (1 / 6, 5 / 6)
_PART = 8
"""The part of a side that is changed."""
_MOST_IMAGES = 6
"""The most images of a pass."""
_MOST_VALUES = 2**18
"""The most values in the images of a pass, where it takes several."""
_APART = 0.2
"""Places are other ones if they are further apart than this share of a side."""
_FEWEST_AWAY = 2
"""The peaks that must lie elsewhere than where the image was changed."""
_AGREEING = 0.8
"""The share of the changes whose peaks must be in the same place in each of the images."""
_FEWEST_CELLS = 5
"""The cells of an axis from which on peaks can be told from one another."""
Centre = tuple[float, ...]
_Key = tuple[str, Layout]
Peak = tuple[int, ...] | None
"""The cell that changes most; None: none changes."""
Peaks = dict[Layout, list[Peak]]
"""One layer's peaks, one for each centre, by each layout that it may have."""


def centres_of(rank: int) -> list[Centre]:
    """The centres of the changes, in coordinates from 0 to 1."""
    return [(1 / 2,) * rank, *product(_ENDS, repeat=rank)]


def noise_images(image: Inputs) -> Iterator[Inputs]:
    """The images that are changed, one at a time: of volumes, two take up memory."""
    for number in range(IMAGES):
        noise = noise_like(image.images.expand(number + 1, *image.images.shape[1:]))
        yield image.with_images(noise[number:].clone())


def peaks(
    session: Session, image: Inputs, layouts: Mapping[str, Sequence[Layout]], centres: Sequence[Centre]
) -> dict[str, Peaks]:
    """The peaks of each layer, where the image is changed at each centre; only of the layers that can be measured."""
    most = min(_MOST_IMAGES, session.runtime.batch_size)
    at_once = min(most, max(1, _MOST_VALUES // image.images.numel()))
    for size in dict.fromkeys((at_once, min(2, most), 1)):
        # Memory may be short, and a network may take one image alone, or pairs, and raise anything for others.
        with suppress(Exception):
            return _compared(session, image, layouts, centres, size)
    return {}


def followed(own: Sequence[Peak], grid: Sequence[int], centres: Sequence[Centre | None]) -> int:
    """At how many of the centres the peak lies where the image was changed, or next to it."""
    pairs = zip(own, centres, strict=True)
    return sum(peak is not None and centre is not None and _is_at(peak, centre, grid) for peak, centre in pairs)


def places_of(own: Sequence[Peak], grid: Sequence[int]) -> list[Centre | None]:
    """Where the peaks of a layer are, in coordinates from 0 to 1."""
    return [_place(peak, grid) for peak in own]


def is_at_by_chance(centre: Centre, grid: Sequence[int]) -> float:
    """The probability that a peak anywhere on a grid counts as where the image was changed."""
    axes = zip(centre, grid, strict=True)
    return math.prod(sum(_is_near(cell, part, cells) for cell in range(cells)) / cells for part, cells in axes)


def are_moved(images: tuple[Sequence[Peak], Sequence[Peak]], grid: Sequence[int], centres: Sequence[Centre]) -> bool:
    """Whether a layer has its positions elsewhere: its peaks do not lie where the images were changed.

    They are as far from one another as places are, and at the same places in both images. A layer of which each cell
    depends on the whole image has peaks anywhere, and so is none that moves.
    """
    if min(grid) < _FEWEST_CELLS:
        return False
    pairs = list(zip(*(places_of(own, grid) for own in images), strict=True))
    agreeing = [(centre, pair) for centre, pair in zip(centres, pairs, strict=True) if not _are_apart(*pair)]
    seen = [(centre, pair) for centre, pair in agreeing if None not in pair]
    away = sum(all(_are_apart(centre, place) for place in pair) for centre, pair in seen)
    are_places = all(_are_apart(one[0], other[0]) for (_, one), (_, other) in combinations(seen, 2))
    return are_places and away >= _FEWEST_AWAY and len(agreeing) >= _AGREEING * len(centres)


def _compared(
    session: Session, image: Inputs, layouts: Mapping[str, Sequence[Layout]], centres: Sequence[Centre], size: int
) -> dict[str, Peaks]:
    """The peaks, by passes of as many images: the image itself is the first of all."""
    plain: dict[_Key, Tensor] = {}
    found: dict[_Key, list[Tensor]] = {(name, layout): [] for name, own in layouts.items() for layout in own}
    for start, stop in chunks(1 + len(centres), size):
        parts = [image.images, *(_changed(image.images, centre) for centre in centres[max(0, start - 1) : stop - 1])]
        parts = parts[int(start > 0) :]
        batch = torch.cat(parts) if len(parts) > 1 else parts[0]  # of a volume, a copy takes up memory
        for key, change in _changes(session, image.with_images(batch), layouts, plain, is_first=not start).items():
            found[key].append(change)
    whole = {key: torch.cat(own) for key, own in found.items() if sum(map(len, own)) == len(centres)}
    return {
        name: {layout: _peaks(whole[name, layout]) for layout in own}
        for name, own in layouts.items()
        if all((name, layout) in whole for layout in own)
    }


def _changes(
    session: Session,
    images: Inputs,
    layouts: Mapping[str, Sequence[Layout]],
    plain: dict[_Key, Tensor],
    is_first: bool,
) -> dict[_Key, Tensor]:
    """How much each cell of each layer differs from that of the plain image, (changed images, *grid), in a pass.

    In the first one the plain image comes before the others, and what it gives is put into ``plain``.
    """
    changes: dict[_Key, Tensor] = {}

    def note(name: str, _module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        for layout in layouts.get(name, ()):
            key, cells = (name, layout), None if tensor is None else _spatial(layout, tensor)
            changes.pop(key, None)  # of an earlier run
            if cells is not None and len(cells) == len(images) and (is_first or key in plain):
                if is_first:
                    plain[key] = cells[:1].clone()
                changes[key] = (cells - plain[key])[int(is_first) :].square().sum(dim=1)

    with torch.no_grad(), watched(session.network, note):
        session.call(images)
    return changes


def _spatial(layout: Layout, output: Tensor) -> Tensor | None:
    """A layer's output as (B, C, *grid); None where it is laid out otherwise, as for a batch of other size."""
    with suppress(Exception):
        return layout.spatial(output.float())
    return None


def _changed(image: Tensor, centre: Centre) -> Tensor:
    """The image with other values in a box around a centre."""
    changed = image.clone()
    sides = image.shape[2:]
    halves = [max(1, side // _PART // 2) for side in sides]
    starts = [int(at * side) - half for at, side, half in zip(centre, sides, halves, strict=True)]
    box = tuple(slice(max(0, start), start + 2 * half) for start, half in zip(starts, halves, strict=True))
    changed[:, :, *box] *= -3
    return changed


def _peaks(changes: Tensor) -> list[Peak]:
    """The cells with the largest change, of changes (centres, *grid)."""
    # Relative to the cell's mean, as one that reacts to every change has no position; and to that of all, as the
    # largest change of a cell that hardly reacts says nothing.
    relative = changes / (changes.mean(dim=0) + changes.mean()).clamp(min=1e-30)
    most = relative.flatten(1).max(dim=1)
    places = zip(*np.unravel_index(most.indices.numpy(force=True), relative.shape[1:]), strict=True)
    return [
        tuple(map(int, place)) if value else None for value, place in zip(most.values.tolist(), places, strict=True)
    ]


def _is_at(peak: Sequence[int], centre: Centre, grid: Sequence[int]) -> bool:
    return all(_is_near(at, part, cells) for at, part, cells in zip(peak, centre, grid, strict=True))


def _is_near(cell: int, part: float, cells: int) -> bool:
    """Whether a cell of an axis lies where the image was changed, or next to it."""
    return abs(cell + 0.5 - part * cells) <= 0.5 + max(0.25, cells / _PART / 2)


def _place(peak: Peak, grid: Sequence[int]) -> Centre | None:
    """Where a peak is, in coordinates from 0 to 1."""
    return None if peak is None else tuple((at + 0.5) / cells for at, cells in zip(peak, grid, strict=True))


def _are_apart(one: Centre | None, other: Centre | None) -> bool:
    """Whether two places are other ones."""
    if one is None or other is None:
        return one is not other
    return any(abs(own - at) > _APART for own, at in zip(one, other, strict=True))
