"""Whether positions stay where they are, measured by changes of a part of the image.

Tokens may be pruned, merged or sorted, and then be brought back into order, or not. Where a network seems to do so, or
to mix, mirror, crop or move positions, a layer counts as fixed if it changes most where the image was changed. Of any
other one it is proof that it moves them, by whatever function, if it always changes most at the same other places: in
deep layers of an ordinary network each position depends on the whole image, and may follow no change.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate

from torch import nn

from pellucid.core.inputs import Inputs
from pellucid.models.discovery.impulses import (
    IMAGES,
    Centre,
    Peaks,
    are_moved,
    centres_of,
    followed,
    is_at_by_chance,
    noise_images,
    peaks,
    places_of,
)
from pellucid.models.discovery.position_axes import ENLARGED
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.session import Session

_ENOUGH = 2 / 3
"""The share of the changes that a layer must follow; by chance it is a tenth on a grid of 4 × 4."""
_BY_CHANCE = 1e-3
"""On small grids, which a random layer may follow by chance, the number of changes is one that it reaches so rarely."""
_MOVED, _SURELY_MOVED = 6, 16
"""A layer that does not follow the image is moved, too, after so many moved layers: the first number where it follows
them more often than the image, the second in any case. Within a block of an ordinary network up to ten were seen."""
_MOST_OUTPUTS, _MOST_OF_VOLUMES = 2**25, 2**16
"""The most values of the layers that are measured although nothing makes them doubtful, the smallest ones first; of
volumes few, as their explanation takes little more memory than a prediction."""


def with_fixed_order(profile: ModelProfile, session: Session, image: Inputs) -> ModelProfile:
    """The profile with its ``shuffled`` and ``restored`` layers.

    It takes passes of 6 images, of volumes of 10, and as many again where a layer may move positions or a
    doubtful one may follow. A network that
    takes fewer images at once gets them in passes of two, or of one.
    """
    enlarged = frozenset(name for name, runs in profile.runs.items() if name and runs[-1].mixed_by == ENLARGED)
    profile = replace(profile, shuffled=enlarged) if enlarged else profile
    if not profile.sees_whole:  # parts of the image, or members of a sequence, cannot be measured so
        suspected = (name for name, runs in profile.runs.items() if name and runs[-1].looks and runs[-1].is_reordered)
        return replace(profile, shuffled=enlarged.union(suspected))
    modules = dict(session.network.named_modules())
    doubtful = _doubtful(profile, modules)
    profile = replace(profile, shuffled=enlarged.union(_picked_tokens(profile, doubtful)))
    if not any(profile.runs[name][-1].marks for name in doubtful):  # constants, such as positions
        doubtful = {}
    centres = centres_of(image.images.ndim - 2)
    # What a network does with the noise is not what it does with images, where it decides by them.
    others = {} if profile.decides else _others(profile, modules, doubtful)
    measured = _measured(session, image, doubtful, others, centres)
    moved = frozenset(moved_layers(others, measured, centres))
    profile = replace(profile, moved=moved, shuffled=profile.shuffled | moved)
    return _with_doubtful(profile, doubtful, measured, centres)


def _with_doubtful(
    profile: ModelProfile,
    doubtful: Mapping[str, Sequence[Layout]],
    measured: Mapping[str, Sequence[Peaks]],
    centres: Sequence[Centre],
) -> ModelProfile:
    """The profile with the layers that do not follow the changes, and those that do so in the plain order of tokens."""
    shares = {name: _shares(measured[name], centres) for name in doubtful if name in measured}
    best = {name: _best(own) for name, own in shares.items()}
    share = {name: shares[name][best[name]] if name in shares else None for name in doubtful}
    return replace(
        profile,
        shuffled=profile.shuffled.union(_shuffled(profile, share)),
        restored=frozenset(name for name in best if best[name] != doubtful[name][0]),
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


def _doubtful(profile: ModelProfile, modules: Mapping[str, nn.Module]) -> dict[str, tuple[Layout, ...]]:
    """The layers whose order may not be the one that their layout says: that layout, and the one row by row."""
    plain = replace(profile, restored=frozenset(modules))
    found: dict[str, tuple[Layout, ...]] = {}
    for name, runs in profile.runs.items():
        is_doubtful = runs[-1].is_doubtful or (len(runs[-1].shape) == 3 and profile.frames.known)
        if is_doubtful and name and name in modules and name not in profile.shuffled:
            each = (one.layout(name, modules[name]) for one in (profile, plain))
            found[name] = tuple(dict.fromkeys(one for one in each if one is not None and one.entries == 1))
    return {name: layouts for name, layouts in found.items() if layouts}


def _others(
    profile: ModelProfile, modules: Mapping[str, nn.Module], doubtful: Collection[str]
) -> dict[str, tuple[Layout, ...]]:
    """The layouts of the layers of which nothing is suspected, in order: the smallest ones, as far as memory goes."""
    layouts = {name: profile.layout(name, modules[name]) for name in profile.shapes if name and name in modules}
    found = {name: (one,) for name, one in layouts.items() if one is not None and one.entries == 1}
    sizes = {name: math.prod(profile.shapes[name]) for name in found if name not in doubtful}
    smallest = sorted(sizes, key=lambda name: sizes[name])
    total = dict(zip(smallest, accumulate(sizes[name] for name in smallest), strict=True))
    most = _MOST_OUTPUTS if len(profile.grids.size) < 3 else _MOST_OF_VOLUMES
    return {name: found[name] for name in found if total.get(name, math.inf) <= most}


def _measured(
    session: Session,
    image: Inputs,
    doubtful: Mapping[str, Sequence[Layout]],
    others: Mapping[str, Sequence[Layout]],
    centres: Sequence[Centre],
) -> dict[str, list[Peaks]]:
    """The peaks of each layer in each noise image.

    The images that are left are not asked where no doubtful layer could follow any more, and none of the others may be
    moved, or the last of them is not.
    """
    last = ["", *others][-1]
    found: dict[str, list[Peaks]] = {}
    if not last and not doubtful:
        return found
    for left, one in zip(reversed(range(IMAGES)), noise_images(image), strict=True):
        each = peaks(session, one, {**others, **doubtful}, centres)
        found = {name: [*found.get(name, []), own] for name, own in each.items() if left == IMAGES - 1 or name in found}
        most = left * len(centres)
        may_follow = any(_may_follow(found[name], most, centres) for name in doubtful if name in found)
        is_kept = last in found and min(_shares(found[last], centres).values()) >= 1 / IMAGES
        may_move = not is_kept and any(_may_be_moved(found[name], centres) for name in others if name in found)
        if not (may_follow or may_move):
            break
    return found


def _may_follow(each: Sequence[Peaks], most: int, centres: Sequence[Centre]) -> bool:
    """Whether a layer can still follow enough changes, with ``most`` left to ask; always, where it has two layouts."""
    return len(each[0]) > 1 or max(_counts(each, centres).values()) + most >= _fewest(next(iter(each[0])).grid)


def moved_layers(
    others: Mapping[str, Sequence[Layout]], measured: Mapping[str, Sequence[Peaks]], centres: Sequence[Centre]
) -> Iterator[str]:
    """The layers that move positions, of some in the order in which they finish.

    That is proven of a layer, or it comes behind one of which it is, and changes at the places where that one does.
    A layer that follows neither is moved, too, if it comes after more moved layers than a single block has.
    """
    there: list[Sequence[Centre | None]] = []
    count = 0
    for name, [layout] in others.items():
        each = measured.get(name, ())
        needed, here = _fewest(layout.grid), _counts(each, centres).get(layout, 0)
        elsewhere = sum(followed(own[layout], layout.grid, at) for own, at in zip(each, there, strict=False))
        if _is_moved(each, centres):
            there = [places_of(own[layout], layout.grid) for own in each]
        elif here >= needed:
            there, count = [], 0
            continue
        elif not (elsewhere >= needed or (count >= _MOVED and elsewhere > here) or (there and count >= _SURELY_MOVED)):
            continue
        count += 1
        yield name


def _may_be_moved(each: Sequence[Peaks], centres: Sequence[Centre]) -> bool:
    """Whether a layer, of one layout, moves its positions if another image shows the same as the first."""
    return _is_moved([each[0]] * IMAGES, centres)


def _is_moved(each: Sequence[Peaks], centres: Sequence[Centre]) -> bool:
    """Whether a layer, of one layout, moves its positions; not where it was not asked in both images."""
    return len(each) >= IMAGES and all(
        are_moved((first, each[1][layout]), layout.grid, centres) for layout, first in each[0].items()
    )


def _counts(each: Sequence[Peaks], centres: Sequence[Centre]) -> dict[Layout, int]:
    """How many of the changes of all images a layer follows, by each of its layouts."""
    layouts = each[0] if each else ()
    return {layout: sum(followed(own[layout], layout.grid, centres) for own in each) for layout in layouts}


def _shares(each: Sequence[Peaks], centres: Sequence[Centre]) -> dict[Layout, float]:
    """The changes that a layer follows, by each of its layouts, as a share of those that it must follow."""
    return {layout: count / _fewest(layout.grid) for layout, count in _counts(each, centres).items()}


def _best(shares: Mapping[Layout, float]) -> Layout:
    """The first of the layouts in which a layer follows enough, else the one in which it follows most."""
    following = (layout for layout, share in shares.items() if share >= 1)
    return next(following, max(shares, key=lambda layout: shares[layout]))


@cache
def _fewest(grid: tuple[int, ...]) -> int:
    """How many of the changes a layer must follow."""
    centres = centres_of(len(grid))
    chances = [1.0]  # of each number of changes, where the largest change is anywhere
    for centre in (*centres,) * IMAGES:
        own = is_at_by_chance(centre, grid)
        chances = [one * (1 - own) + other * own for one, other in zip([*chances, 0.0], [0.0, *chances], strict=True)]
    number = math.ceil(_ENOUGH * len(centres) * IMAGES)
    while number < len(centres) * IMAGES and sum(chances[number:]) > _BY_CHANCE:
        number += 1
    return number
