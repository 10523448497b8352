"""What a network's looks see of the image, measured: crops, margins, mirror images, rolls, members of a sequence.

A look is a convolution over the image (``dataflow``). Where it gets the image itself, it sees the image as a whole.
Elsewhere, gradients of single positions of its input say which pixels these are: positions along each axis are
followed to the image, and one or two affine pieces are fitted. It is done for two images: where the two differ, the
view moves with the image, and nothing can be drawn at a fixed place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.inputs import Inputs
from pellucid.core.view import WHOLE, FrameAxis, View
from pellucid.models.discovery.dataflow import Dataflow
from pellucid.models.discovery.following import followed
from pellucid.models.discovery.frame_axes import agree, axis_through, is_whole
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.owners import entries_of, entry_of_member, gradient_of, indices_seen
from pellucid.models.session.hooks import at_rest
from pellucid.models.session.session import Session

MOST_ENTRIES = 16
"""The most entries that see parts of the same image, such as ten crops; each is followed alone."""
_ALIKE = 0.85
"""The correlation from which on an input is like the image."""


UNSEEN = View(member=-1)
"""What an entry sees that depends on other inputs of the network alone."""


@dataclass(frozen=True)
class Sight:
    """What one look sees: a view for each entry of its batch, for one image.

    A view is None where it is no fixed place of the image, ``UNSEEN`` where it depends on no image. ``by_entry``: of
    several images, the first entries of all come first, then the second ones.
    """

    views: tuple[View | None, ...] = (WHOLE,)
    by_entry: bool = False

    def with_all_members(self, space: Sequence[int]) -> Sight:
        """The sight; of nothing fixed where it lacks slices: which are passed may depend on other inputs (a mask)."""
        known = [view for view in self.views if view is not None and view.member not in (None, UNSEEN.member)]
        passed = Counter(view.along for view in known)
        is_part = len(self.views) > 1 and any(count < space[axis] for axis, count in passed.items())
        return replace(self, views=(None,) * len(self.views)) if is_part else self


@dataclass(frozen=True)
class Looked:
    """A look in the profile's pass: its input's shape, whether that is the image itself, and its kernel's size."""

    shape: tuple[int, ...]
    is_image: bool
    kernel: tuple[int, ...]


def measured_views(session: Session, image: Inputs, looks: Sequence[Looked], lost: bool = False) -> tuple[Sight, ...]:
    """What each look sees; ``lost`` as for ``Dataflow``.

    Where no gradient leads back to the image, it is the whole of it if it is like it.
    """
    if all(look.is_image for look in looks):
        return tuple(Sight() for _ in looks)
    images = _two(image.images)
    found: dict[int, Sight] = {}
    for few in (images, images[:1], image.images):  # a network may take one image at a time, or the caller's alone
        with suppress(Exception):
            found = _Measuring.run(session, image, looks, few, lost)
            if not _mixes(found, looks):
                break
    other: dict[int, Sight] = {}
    with suppress(Exception):
        other = _Measuring.run(session, image, looks, _on_dark(1 - images[:1]), lost)
    sights = [_agreed(found[number], other.get(number)) if number in found else None for number in range(len(looks))]
    return tuple(sight or _presumed(look) for sight, look in zip(sights, looks, strict=True))


def _mixes(found: Mapping[int, Sight], looks: Sequence[Looked]) -> bool:
    """Whether a look that has one entry an image sees nothing fixed, as where images are divided by the brightest."""
    return any(None in sight.views for number, sight in found.items() if looks[number].shape[0] == 1)


def _two(image: Tensor) -> Tensor:
    """Two images of noise, (2, C, *space), brighter towards the first corner: their negatives towards the last.

    They are within the range of images, so that bounds leave the values alone.
    """
    images = 0.5 + 0.05 * noise_like(image.expand(2, *image.shape[1:]))
    for axis in range(2, image.ndim):
        slope = torch.linspace(0.1, -0.1, image.shape[axis], device=image.device, dtype=image.dtype)
        images = images + slope.view(-1, *(1,) * (image.ndim - 1 - axis)) / (image.ndim - 2)
    return images.clamp(0.25, 0.75)


def _on_dark(images: Tensor) -> Tensor:
    """Images that are dark in the first three tenths of each axis: a crop to what is bright is another one there."""
    for axis in range(2, images.ndim):
        dark = images.shape[axis] * 3 // 10
        images.narrow(axis, 0, dark).mul_(0.02)
    return images


def _agreed(one: Sight, other: Sight | None) -> Sight:
    """What a look sees of any image: nothing is fixed where it differs between two."""
    if other is None or len(one.views) != len(other.views):
        return one
    both = zip(one.views, other.views, strict=True)
    return replace(one, views=tuple(own if _are_near(own, again) else None for own, again in both))


def _are_near(one: View | None, other: View | None) -> bool:
    if one is None or other is None:
        return False
    kind = (one.member, one.along, one.frame, len(one.axes)) == (
        other.member,
        other.along,
        other.frame,
        len(other.axes),
    )
    return kind and all(agree(own, again, max(one.frame)) for own, again in zip(one.axes, other.axes, strict=True))


def _presumed(look: Looked) -> Sight:
    """What cannot be measured: one entry sees the whole image, and of several nothing is known."""
    return Sight() if look.shape[0] == 1 else Sight((None,) * look.shape[0])


@dataclass
class _Measuring:
    """The measurement of the looks of one pass of a few images."""

    images: Tensor
    looks: Sequence[Looked]
    found: dict[int, Sight] = field(default_factory=dict)
    number: int = 0

    @classmethod
    def run(
        cls, session: Session, image: Inputs, looks: Sequence[Looked], images: Tensor, lost: bool
    ) -> dict[int, Sight]:
        """Pass some images that differ, and look at each look's input."""
        images = images.clone().requires_grad_()
        measuring = cls(images, looks)
        with torch.enable_grad(), at_rest(session.network), Dataflow(images, measuring.look, lost):
            session.call(image.with_images(images))
        return measuring.found

    def look(self, frame: Tensor, _weight: Tensor, _is_image: bool) -> Tensor:
        """Measure one look, and end the graph there."""
        number, self.number = self.number, self.number + 1
        known = self.looks[number] if number < len(self.looks) else None
        if known is not None and known.is_image:
            self.found[number] = Sight()
        elif known is not None and tuple(frame.shape[1:]) == known.shape[1:]:
            is_followed = self._is_followed(frame)
            self.found[number] = _Frame(self.images, frame, known).sight() if is_followed else self._compared(frame)
        return frame.detach()

    def _compared(self, frame: Tensor) -> Sight:
        """What a look sees to which no gradient leads: the whole image where it is like it, else nothing fixed."""
        images, frame = (each.detach().float().mean(dim=1, keepdim=True) for each in (self.images, frame))
        if frame.shape[0] != images.shape[0] or frame.ndim != images.ndim:
            return Sight((None,) * max(1, len(frame) // len(images)))
        both = torch.stack([F.interpolate(images, frame.shape[2:], mode="area").flatten(), frame.flatten()])
        return Sight() if float(torch.corrcoef(both)[0, 1].abs()) > _ALIKE else Sight((None,))

    def _is_followed(self, frame: Tensor) -> bool:
        """Whether a gradient leads from a look's input back to the images."""
        return frame.requires_grad and bool(gradient_of(noise_like(frame) * frame, self.images).any())


@dataclass(frozen=True, eq=False)
class _Frame:
    """A look's input (N, C, *frame) that some images (B, C, *space) became."""

    images: Tensor
    frame: Tensor
    looked: Looked

    @property
    def entries(self) -> int:
        """The number of entries of one image."""
        return self.looked.shape[0]

    def sight(self) -> Sight:
        """What the entries see."""
        nothing = Sight((None,) * self.entries)
        if len(self.frame) != self.entries * len(self.images):
            return nothing
        if self.frame.ndim == self.images.ndim - 1:
            return self._of_members() or nothing
        if self.frame.ndim == self.images.ndim and self.entries <= MOST_ENTRIES:
            return self._of_parts()
        return nothing

    def _of_members(self) -> Sight | None:
        """The sight of entries of which each is a slice of a volume, or a member of a sequence."""
        owners = entries_of(self.images, self.frame)
        axes = range(self.images.ndim - 2)
        along = next((axis for axis in axes if indices_seen(owners, axis + 2) is not None), None)
        if along is None:
            return None
        found = entry_of_member(owners, along + 2)
        by_entry = self._by_entry(found)
        if by_entry is None:
            return None
        each = self._views(self.frame, along)
        views: list[View | None] = [UNSEEN] * self.entries
        for member, number in enumerate(found[0].tolist()):
            if number >= 0:
                views[number // len(self.images) if by_entry else number] = each[member]
        return Sight(tuple(views), by_entry)

    def _by_entry(self, found: Tensor) -> bool | None:
        """The order of the entries of several images, by the entry (B, S) that sees each member; None: another one."""
        seen = found >= 0
        images = torch.arange(len(found), device=found.device).unsqueeze(1).expand(found.shape)
        if bool((found // self.entries == images)[seen].all()):
            return False
        return True if bool((found % len(found) == images)[seen].all()) else None

    def _of_parts(self) -> Sight:
        """The sight of entries that see parts of the same image."""
        by_entry = False
        if self.entries > 1 and len(self.images) > 1:
            second = gradient_of(self.frame[1], self.images)
            by_entry = bool(second[1].any()) and not bool(second[0].any())
        each = entries_apart(self.frame, self.entries, by_entry)
        return Sight(tuple(self._part(rows) for rows in each), by_entry)

    def _part(self, rows: Tensor) -> View | None:
        """The view of one entry of all images, (B, C, *frame)."""
        is_seen = self.entries == 1 or bool(gradient_of(noise_like(rows) * rows, self.images).any())
        return self._views(rows, None)[0] if is_seen else UNSEEN

    def _views(self, rows: Tensor, along: int | None) -> list[View | None]:
        """The views of rows (N, C, *frame) of the frame: one, or one of each member along an axis of the image."""
        space = [side for axis, side in enumerate(self.images.shape[2:]) if axis != along]
        points = [followed(self.images, rows, axis, along) for axis in range(rows.ndim - 2)]
        members: Iterator[int | None] = iter([None] if along is None else range(self.images.shape[2 + along]))
        views: list[View | None] = []
        for number, member in enumerate(members):
            axes = [axis_through(places, where[:, :, number], space) for places, where in points]
            found = None if None in axes else tuple(axis for axis in axes if axis is not None)
            views.append(None if found is None else self._view(found, space, member, along or 0))
        return views

    def _view(self, axes: tuple[FrameAxis, ...], space: Sequence[int], member: int | None, along: int) -> View:
        """A view; that of the whole image where the frame is as the image is drawn."""
        sides = tuple(self.frame.shape[2:])
        shows_all = all(
            axis.follows == number and is_whole(axis, space[number], sides[number], self.looked.kernel[number])
            for number, axis in enumerate(axes)
        )
        return View(member=member, along=along) if shows_all else View(sides, axes, member, along)


def entries_apart(frame: Tensor, entries: int, by_entry: bool) -> Tensor:
    """A frame (N, …) of several images as (entries, B, …)."""
    each = frame.reshape(*((entries, -1) if by_entry else (-1, entries)), *frame.shape[1:])
    return each if by_entry else each.transpose(0, 1)
