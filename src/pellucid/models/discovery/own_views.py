"""Whether a network sees of the images that it is given what it saw of those that its views were measured by.

A network may crop to what is not black, or mirror an image by its brightness. The images that ``views`` measures show
only some of that. So where a network decides by values of its image (``Dataflow.decides``), what it sees is followed
for each batch that is explained, to the last look, and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Inputs
from pellucid.core.view import FrameAxis, View
from pellucid.errors import LayerError
from pellucid.models.discovery.dataflow import Dataflow
from pellucid.models.discovery.following import followed
from pellucid.models.discovery.frame_axes import axis_through
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.views import Sight, entries_apart
from pellucid.models.session.hooks import at_rest
from pellucid.models.session.session import Session

_FEWEST = 5
"""The positions that must be followed before a view counts as another one."""
_PIXELS, _SHARE = 4.0, 0.06
"""Two views differ where places are further apart than this number of pixels, and than this share of the side."""


class _SeenAll(BaseException):
    """Ends a pass after the last look."""


@dataclass(frozen=True)
class Moved:
    """What the network sees of an image (``number``, from 0) along an axis, and what it was taken to see."""

    number: int
    seen: str
    expected: str


def check_views(session: Session, inputs: Inputs) -> None:
    """Raise ``LayerError`` where the network sees other parts of an image than its layers are drawn on.

    It takes part of a forward pass, where the network decides by values of the image; else nothing.
    """
    if isinstance(session.model, torch.jit.ScriptModule):  # its layers cannot be drawn on
        return
    profile = profile_of(session, session.prepared(inputs[:1]))
    moved = _moved(session, session.prepared(inputs), profile) if profile.decides else None
    if moved is not None:
        raise LayerError(
            f"a map at layers was asked for; of image {moved.number + 1} of {len(inputs)} the network sees "
            f"{moved.seen}, where it was measured to see {moved.expected}: crop or mirror images before the network, "
            f"or use a method that looks at no layer, such as {' or '.join(black_box_methods())}"
        )


def _moved(session: Session, inputs: Inputs, profile: ModelProfile) -> Moved | None:
    """The first image that is seen otherwise; None if none is, or none can be followed."""
    images = inputs.images.detach().clone()
    if not images.is_floating_point() or images.is_inference():
        return None
    watching = _Watching(images.requires_grad_(), profile.sights)
    # What the network raises for the images comes again when they are explained.
    measuring = torch.enable_grad(), at_rest(session.network), Dataflow(images, watching.look, profile.lost)
    with suppress(Exception, _SeenAll), measuring[0], measuring[1], measuring[2]:
        session.call(inputs.with_images(images))
    return watching.found


class _Watching:
    """Compares each look's input with what the look was measured to see."""

    def __init__(self, images: Tensor, sights: Sequence[Sight]) -> None:
        self._images = images
        self._sights = sights
        self._number = 0
        self.found: Moved | None = None

    def look(self, frame: Tensor, _weight: Tensor, is_image: bool) -> Tensor:
        """Compare one look's input, and end the graph there."""
        sight = self._sights[self._number] if self._number < len(self._sights) else Sight(())
        self._number += 1
        fits = frame.ndim == self._images.ndim and len(frame) == len(sight.views) * len(self._images)
        if fits and not is_image and frame.requires_grad:
            each = entries_apart(frame, len(sight.views), sight.by_entry)
            for rows, view in zip(each, sight.views, strict=True):
                if view is not None and view.member is None:
                    self.found = self.found or self._compared(rows, view)
        if self.found or self._number >= len(self._sights):
            raise _SeenAll
        return frame.detach()

    def _compared(self, rows: Tensor, view: View) -> Moved | None:
        """Compare one entry of all images, (B, C, *frame), with a view, axis by axis."""
        space, sides = self._images.shape[2:], rows.shape[2:]
        whole = tuple(FrameAxis(axis, ((side / space[axis], 0.0),)) for axis, side in enumerate(sides))
        for axis, expected in enumerate(view.axes or whole):
            places, where = followed(self._images, rows, axis, None)
            for number in range(len(self._images)):
                own = where[:, number : number + 1, 0]
                enough = int(own.isfinite().all(dim=-1).sum()) >= _FEWEST
                seen = axis_through(places, own, space) if enough else None
                if seen is not None and _differ(seen, expected, space[expected.follows]):
                    return Moved(number, seen.text(sides[axis]), expected.text(sides[axis]))
        return None


def _differ(seen: FrameAxis, expected: FrameAxis, side: int) -> bool:
    """Whether an axis shows other places than every piece of the one that is expected."""
    scale, offset = seen.pieces[0]

    def apart(own: float, start: float) -> float:
        return max(abs((scale - own) * x + offset - start) for x in (0, side)) / abs(own)

    near = min(apart(*piece) for piece in expected.pieces)
    return seen.follows != expected.follows or near > max(_PIXELS, _SHARE * side)
