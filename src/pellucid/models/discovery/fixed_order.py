"""Whether positions stay where they are, measured where a network picks, sorts, mirrors, crops or mixes them.

Tokens may be pruned, merged or sorted, and then be brought back into order, or not. Parts of two images are changed,
one after the other: a layer's positions are fixed where those change most that lie where the image was changed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product

import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs, chunks
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.position_axes import ENLARGED
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.hooks import first_tensor, watched
from pellucid.models.session.session import Session

_ENDS = (1 / 6, 5 / 6)
_PART = 8
"""The part of a side that is changed."""
_SIZES = (6, 2, 1)
"""The images of a pass: as many as the network takes, of these."""
_IMAGES = 2
_ENOUGH = 2 / 3
"""The share of the changes that a layer must follow; by chance it is a tenth on a grid of 4 × 4."""
_BY_CHANCE = 1e-3
"""On small grids, which a random layer may follow by chance, the number of changes is one that it reaches so rarely."""
_Centre = tuple[float, ...]
_Changes = dict[Layout, list[Tensor]]


def with_fixed_order(profile: ModelProfile, session: Session, image: Inputs) -> ModelProfile:
    """The profile with its ``shuffled`` and ``restored`` layers.

    It takes passes of 12 images, of volumes of 20, where an order may change, or was measured; else none. Half of them
    are enough where no layer could follow any more. A network that takes fewer images at once gets them in passes of
    two, or of one.
    """
    enlarged = frozenset(name for name, runs in profile.runs.items() if name and runs[-1].mixed_by == ENLARGED)
    profile = replace(profile, shuffled=enlarged) if enlarged else profile
    if not profile.sees_whole:  # parts of the image, or members of a sequence, cannot be measured so
        moved = (name for name, runs in profile.runs.items() if name and runs[-1].looks and runs[-1].is_reordered)
        return replace(profile, shuffled=enlarged.union(moved))
    modules = dict(session.network.named_modules())
    plain = replace(profile, restored=frozenset(modules))
    both: dict[str, tuple[Layout, ...]] = {}
    for name in (name for name in _doubtful(profile) if name not in enlarged):
        each = (one.layout(name, modules[name]) for one in (profile, plain) if name in modules)
        both[name] = tuple(dict.fromkeys(one for one in each if one is not None and one.entries == 1))
    both = {name: layouts for name, layouts in both.items() if layouts}
    profile = replace(profile, shuffled=enlarged.union(_picked_tokens(profile, both)))
    if not any(profile.runs[name][-1].marks for name in both):  # constants, such as positions
        return profile
    followed = _followed(session, image, both)
    best = {name: max(own, key=lambda layout: own[layout]) for name, own in followed.items()}
    shares = {name: followed[name][best[name]] if name in followed else None for name in both}
    return replace(
        profile,
        shuffled=profile.shuffled.union(_shuffled(profile, shares)),
        restored=frozenset(name for name in best if best[name] != both[name][0]),
    )


def _picked_tokens(profile: ModelProfile, placed: Collection[str]) -> Iterator[str]:
    """The modules of tokens that were picked and fit no grid: their attention is none over the image."""
    for name, runs in profile.runs.items():
        if name and name not in placed and runs[-1].is_reordered and len(runs[-1].shape) == 3:
            yield name


def _shuffled(profile: ModelProfile, followed: Mapping[str, float | None]) -> Iterator[str]:
    """The layers whose positions are not where they lie, by the changes that each follows, as a share of those it must.

    Where the first layer after a function that seems to mix positions follows, so do those that it becomes: in deep
    layers of any network each position depends on the whole image. A layer that could not be measured (None) is
    refused only where positions were picked or moved, and not where they are suspected to be mixed.
    """
    keeping: dict[int, bool] = {}
    for name in (name for name in profile.shapes if name in followed):
        run, share = profile.runs[name][-1], followed[name]
        if share is None:
            yield from [name] if run.is_reordered else []
            continue
        is_fixed = share >= 1
        for number in run.mixed_by:
            keeping.setdefault(number, is_fixed)
        is_mixed = run.is_mixed and not all(keeping[number] for number in run.mixed_by)
        is_constant = not run.marks and not share
        if is_constant or (not is_fixed and (run.is_reordered or is_mixed)):
            yield name


def _doubtful(profile: ModelProfile) -> Iterator[str]:
    """The layers whose order may not be the one that their layout says."""
    for name, runs in profile.runs.items():
        if name and (runs[-1].is_doubtful or (len(runs[-1].shape) == 3 and profile.frames.known)):
            yield name


def _followed(
    session: Session, image: Inputs, layouts: Mapping[str, Sequence[Layout]]
) -> dict[str, dict[Layout, float]]:
    """The changes that each layer follows, by each of its layouts: as a share of those that it must follow.

    Of the layers that can be measured.
    """
    rank = image.images.ndim - 2
    centres = [(1 / 2,) * rank, *product(_ENDS, repeat=rank)]
    noise = noise_like(image.images.expand(_IMAGES, *image.images.shape[1:]))
    hits = {name: dict.fromkeys(own, 0) for name, own in layouts.items()}
    fewest = {layout: _fewest(layout.grid, centres) for own in layouts.values() for layout in own}
    for left, one in zip(reversed(range(_IMAGES)), torch.split(noise, 1), strict=True):
        changes = _changes(session, image.with_images(one), layouts, centres)
        hits = {
            name: {layout: count + _hits(torch.cat(changes[name][layout]), centres) for layout, count in known.items()}
            for name, known in hits.items()
            if name in changes
        }
        most = left * len(centres)
        if all(len(known) == 1 and max(known.values()) + most < fewest[next(iter(known))] for known in hits.values()):
            break  # no layer can follow enough any more
    return {name: {layout: count / fewest[layout] for layout, count in known.items()} for name, known in hits.items()}


def _changes(
    session: Session, image: Inputs, layouts: Mapping[str, Sequence[Layout]], centres: Sequence[_Centre]
) -> dict[str, _Changes]:
    """How much each cell of each layer changes, (centres, *grid), where the image is changed at each centre."""
    for size in _SIZES:
        # Memory may be short, and a network may take one image alone and raise anything for more.
        with suppress(Exception):
            return _compared(session, image, layouts, centres, size)
    return {}


def _compared(
    session: Session, image: Inputs, layouts: Mapping[str, Sequence[Layout]], centres: Sequence[_Centre], size: int
) -> dict[str, _Changes]:
    """The changes, by passes of as many images: the image itself is the first of all."""
    found: dict[str, _Changes] = {name: {layout: [] for layout in own} for name, own in layouts.items()}
    plain: dict[tuple[str, Layout], Tensor] = {}
    for start, stop in chunks(1 + len(centres), size):
        each = [_changed(image.images, centre) for centre in centres[max(0, start - 1) : stop - 1]]
        batch = torch.cat([*([] if start else [image.images]), *each])
        outputs = _outputs(session, image.with_images(batch), layouts)
        for name, changes in found.items():
            for layout, maps in changes.items():
                with suppress(Exception):  # of one layer, whose batch is not the images
                    cells = layout.spatial(outputs[name].float())
                    first = plain.setdefault((name, layout), cells[:1].clone())
                    maps.append((cells[len(batch) - len(each) :] - first).square().sum(dim=1))
    return {name: changes for name, changes in found.items() if _are_whole(changes.values(), len(centres))}


def _outputs(session: Session, images: Inputs, layers: Collection[str]) -> dict[str, Tensor]:
    """The last output of each layer in a pass."""
    outputs: dict[str, Tensor] = {}

    def note(name: str, _module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        if name in layers and tensor is not None:
            outputs[name] = tensor

    with torch.no_grad(), watched(session.network, note):
        session.call(images)
    return outputs


def _are_whole(changes: Iterable[Sequence[Tensor]], count: int) -> bool:
    """Whether there is a map of every change."""
    return all(sum(map(len, maps)) == count for maps in changes)


def _changed(image: Tensor, centre: _Centre) -> Tensor:
    """The image with other values in a box around a centre, whose coordinates are from 0 to 1."""
    changed = image.clone()
    sides = image.shape[2:]
    halves = [max(1, side // _PART // 2) for side in sides]
    starts = [int(at * side) - half for at, side, half in zip(centre, sides, halves, strict=True)]
    box = tuple(slice(max(0, start), start + 2 * half) for start, half in zip(starts, halves, strict=True))
    changed[:, :, *box] *= -3
    return changed


def _hits(changes: Tensor, centres: Sequence[_Centre]) -> int:
    """How many changes (centres, *grid) are largest where the image was changed; those that change nothing are not."""
    # Relative to the cell's mean, as one that reacts to every change has no position; and to that of all, as the
    # largest change of a cell that hardly reacts says nothing.
    relative = changes / (changes.mean(dim=0) + changes.mean()).clamp(min=1e-30)
    return sum(bool(one.any()) and _is_at(one, centre) for one, centre in zip(relative, centres, strict=True))


def _is_at(change: Tensor, centre: _Centre) -> bool:
    """Whether the maximum of a map lies where the image was changed, or next to it."""
    cell = torch.unravel_index(change.argmax(), change.shape)
    return all(_is_near(int(at), part, cells) for at, part, cells in zip(cell, centre, change.shape, strict=True))


def _is_near(cell: int, part: float, cells: int) -> bool:
    """Whether a cell of an axis lies where the image was changed, or next to it."""
    return abs(cell + 0.5 - part * cells) <= 0.5 + max(0.25, cells / _PART / 2)


def _fewest(grid: Sequence[int], centres: Sequence[_Centre]) -> int:
    """How many of the changes a layer must follow."""
    chances = [1.0]  # of each number of changes, where the largest change is anywhere
    for centre in (*centres,) * _IMAGES:
        axes = zip(centre, grid, strict=True)
        own = math.prod(sum(_is_near(cell, part, cells) for cell in range(cells)) / cells for part, cells in axes)
        chances = [one * (1 - own) + other * own for one, other in zip([*chances, 0.0], [0.0, *chances], strict=True)]
    number = math.ceil(_ENOUGH * len(centres) * _IMAGES)
    while number < len(centres) * _IMAGES and sum(chances[number:]) > _BY_CHANCE:
        number += 1
    return number
