"""Find the position of the patches among a network's tokens, by changing parts of noise of an image's shape."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from types import EllipsisType

import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.patch_grids import measured_grids
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.token_codes import changed, followed, is_followed, patterns, with_known, with_order
from pellucid.models.discovery.tokens import Grids, Layout
from pellucid.models.session.hooks import stopped_at
from pellucid.models.session.session import Session

_EARLY = 0.25
"""The share of the modules, from the first tokens on, that are compared; in later ones attention has mixed them."""
_AT_LEAST, _BY_FAR = 0.65, 0.1
"""The chance with which tokens must follow cells in one order (0.5 is none), and how much less it is in every other."""
_CORNERS = 4
"""The images that show the corners."""
_FIRST = 4
"""So many modules are looked at in any network."""


def located(profile: ModelProfile, session: Session, image: Inputs) -> ModelProfile:
    """A profile whose grids say where the patches are among the tokens, and whether they follow rows or columns.

    A pass of seven images is stopped at the first layer of tokens: one shows which tokens depend on the image, three
    the corners, two whether the tokens between follow the cells. Where they do not, binary codes say which one follows
    which. If the changed tokens fit no layout, or the network does not accept several images, the common layout is
    kept: row by row, after all others.
    """
    is_one = profile.frames is profile.grids
    if not profile.grids.made:
        profile = replace(profile, grids=measured_grids(profile, session, image))
        profile = replace(profile, frames=profile.grids) if is_one else profile
    frames = _located(profile, session, image)
    return replace(profile, frames=frames, grids=frames if is_one else profile.grids)


def _located(profile: ModelProfile, session: Session, image: Inputs) -> Grids:
    modules = dict(session.network.named_modules())
    name = _first_tokens(profile, modules)
    layout = None if name is None else profile.layout(name, modules[name])
    if name is None or layout is None:
        return profile.frames

    def tokens(images: Tensor) -> Tensor | None:
        output = stopped_at(modules[name], lambda: session.call(image.with_images(images)))
        return None if output is None else layout.own(output, layout.batch_axis).movedim(layout.batch_axis, 0).float()

    with torch.no_grad(), suppress(Exception):
        noise, random = noise_like(image.images), patterns(layout)
        found = tokens(torch.cat([_corners(noise, layout), changed(noise, random, layout), -noise]))
        if found is not None:
            found, other = found[:-1], found[-1]
            placed = _placed(profile.frames, layout, found, random)
            certain = _placed_by_constants(profile.frames, layout, found, random, other)
            if placed is None or (certain is not None and not _agree(placed, certain)):
                placed = certain or _best_placed(profile.frames, layout, found, random)
            supposed = replace(profile, frames=placed).layout(name, modules[name]) or layout
            if profile.sees_whole and not is_followed(found[0], found[_CORNERS:], random, supposed.tokens):
                known = torch.cat([found[:1], found[_CORNERS:]])
                return with_order(placed, replace(layout, batch_axis=0, order=()), noise, tokens, known)
            return placed
    return profile.frames


def _first_tokens(profile: ModelProfile, modules: dict[str, nn.Module]) -> str | None:
    """The first layer whose output has patches and non-spatial tokens, else the first whose output is tokens."""
    names = [name for name in profile.shapes if name in modules and len(profile.counted(name)) == 1]
    layouts = {name: profile.layout(name, modules[name]) for name in names}
    start = next((at for at, name in enumerate(names) if _is_tokens(layouts[name])), len(names))
    early = names[start : start + max(_FIRST, int(_EARLY * (len(names) - start)))]
    tokens = [(name, layout) for name in early if (layout := layouts[name]) is not None and layout.kind == "tokens"]
    return min(tokens, key=lambda one: _counted(profile, *one) == one[1].cells)[0] if tokens else None


def _is_tokens(layout: Layout | None) -> bool:
    return layout is not None and layout.kind == "tokens"


def _counted(profile: ModelProfile, name: str, layout: Layout) -> int:
    """The number of a layer's tokens."""
    return profile.shapes[name][1 - layout.batch_axis]


def _corners(noise: Tensor, layout: Layout) -> Tensor:
    """The noise, and three copies with the first, the upper right and the last patch changed: (4, C, *space)."""
    plane = noise.shape[-len(layout.grid) :]  # of slices that are laid out one by one, in all of them
    patch = [max(1, side // cells) for side, cells in zip(plane, layout.grid, strict=True)]
    first, last = [slice(0, side) for side in patch], [slice(-side, None) for side in patch]
    upper = [*first[:-1], last[-1]]
    changed = noise.repeat(4, *(1,) * (noise.ndim - 1))
    for index, part in enumerate((first, upper, last), start=1):
        changed[index][_of_plane(part)] *= -2
    return changed


def _of_plane(part: Sequence[slice]) -> tuple[EllipsisType | slice, ...]:
    """The index of a part of the last axes."""
    return (..., *part)


def _placed(grids: Grids, layout: Layout, tokens: Tensor, cells: Tensor) -> Grids | None:
    """The grids with the patches' position and order that the changed corners show; None: they show none."""
    first, upper, last = (int((one - tokens[0]).abs().sum(dim=-1).argmax()) for one in tokens[1:_CORNERS])
    rest = tokens.shape[1] - layout.cells
    rows, columns = layout.grid[-2:]
    if last - first != layout.cells - 1 or not 0 <= first <= rest:
        return None
    by_columns = _has_columns(layout) and upper - first == (columns - 1) * rows
    if _has_columns(layout) and not by_columns and upper - first != columns - 1:
        by_row, by_column = (
            followed(tokens[0], tokens[_CORNERS:], cells, _in_order(layout, first, own)) for own in (False, True)
        )
        by_columns = by_column > by_row
    return replace(grids, before=None if first == rest else first, by_columns=by_columns)


def _placed_by_constants(grids: Grids, layout: Layout, tokens: Tensor, cells: Tensor, other: Tensor) -> Grids | None:
    """The grids with the patches where tokens (T, C) differ in another image; None unless others are left over.

    Before an attention, class and register tokens do not depend on the image. So they are known also where the cells
    overlap, and no token shows for itself which cell it is.
    """
    patches = (other - tokens[0]).abs().sum(dim=-1).nonzero().flatten().tolist()
    if len(patches) != layout.cells or len(other) == layout.cells:
        return None
    orders = [[patches[number] for number in _in_order(layout, 0, own)] for own in (False, True)]
    by_row, by_column = (followed(tokens[0], tokens[_CORNERS:], cells, order) for order in orders)
    by_columns = _has_columns(layout) and by_column >= _AT_LEAST and by_column - by_row >= _BY_FAR
    if patches[-1] - patches[0] == layout.cells - 1:
        is_last = patches[0] == len(other) - layout.cells
        return replace(grids, before=None if is_last else patches[0], by_columns=by_columns)
    return with_known(grids, layout, len(other), orders[by_columns])


def _agree(one: Grids, other: Grids) -> bool:
    """Whether two have the patches at the same tokens, in one order or another."""
    return one.before == other.before and one.known == other.known


def _best_placed(grids: Grids, layout: Layout, tokens: Tensor, cells: Tensor) -> Grids:
    """The grids with the position and the order at which tokens follow random cells best, by far; else unchanged.

    Behind a convolutional stem, whose cells overlap, the strongest token of a corner may be that of the cell beside it.
    """
    rest = tokens.shape[1] - layout.cells
    orders = (False, True) if _has_columns(layout) else (False,)
    follows = {
        (before, by_columns): followed(tokens[0], tokens[_CORNERS:], cells, _in_order(layout, before, by_columns))
        for before in range(rest + 1)
        for by_columns in orders
    }
    best, *others = sorted(follows, key=lambda place: follows[place], reverse=True)
    if follows[best] < _AT_LEAST or any(follows[best] - follows[other] < _BY_FAR for other in others):
        return grids
    return replace(grids, before=None if best[0] == rest else best[0], by_columns=best[1])


def _has_columns(layout: Layout) -> bool:
    """Whether a layout's tokens may follow one another by columns."""
    return not layout.order and len(layout.grid) == 2 and min(layout.grid) > 1


def _in_order(layout: Layout, before: int, by_columns: bool) -> list[int]:
    """The token at each cell."""
    numbers = torch.arange(layout.cells)
    if by_columns:
        numbers = numbers.view(*reversed(layout.grid)).T.flatten()
    return [before + int(number) for number in numbers]
