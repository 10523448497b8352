"""Whether an axis of the input counts images of a sequence or set: views, slices, frames, or patches of a bag.

Where each index of the first axis after the batch goes through the network's first convolutions on its own, as an
entry of the batch or in a run of its own, it is an image of a sequence; else it is a channel. Gradients say which of
the images' values each entry sees.
"""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from pellucid.core.inputs import Form, Inputs
from pellucid.core.torch_private import CONVOLUTION
from pellucid.models.discovery.dataflow import Dataflow
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.owners import entries_of, indices_seen
from pellucid.models.session.cache import remembered
from pellucid.models.session.hooks import at_rest
from pellucid.models.session.session import Session


def form_of(session: Session, image: Inputs) -> Form:
    """How the network takes inputs like this one, which is as a caller gives it; found once for an input shape."""
    return remembered(session.model, ("form", session.key(image)), lambda: _form(session, image))


def _form(session: Session, image: Inputs) -> Form:
    has_convolutions = any(isinstance(module, CONVOLUTION) for module in session.network.modules())
    if session.has_script or session.is_quantised or not has_convolutions:
        return "images"
    images = noise_like(image.images).requires_grad_()
    votes = _Votes(images)
    with suppress(Exception), torch.enable_grad(), at_rest(session.network):
        with Dataflow(images, votes.look):
            session.call(image.with_images(images))
        return votes.form()
    return "images"


class _ChannelsError(RuntimeError):
    """The first convolution takes the image itself: its channels are channels. It ends the pass there."""


class _Votes:
    """What the looks of a pass say of the axis after the batch."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self._seen: set[int] = set()
        self._weights: set[int] = set()
        self._is_alone = True
        """Whether each entry sees one index of the axis only."""
        self._is_single = True
        """Whether the axis has one index, and the channels lie on the next one."""
        self._is_behind = False
        """Whether the channels lie on the axis after it, and the network itself turns them round (video models)."""

    def look(self, frame: Tensor, weight: Tensor, is_image: bool) -> Tensor:
        """Take note of one look, and end the graph there."""
        if is_image and not self._weights:
            raise _ChannelsError
        members = indices_seen(entries_of(self._images, frame), 1)
        self._is_alone = self._is_alone and members is not None and frame.ndim == 4
        self._seen.update(members or ())
        self._weights.add(weight.data_ptr())
        shape = self._images.shape
        self._is_single = self._is_single and shape[1] == 1 and frame.shape[1] == shape[2] > 1
        self._is_behind = self._is_behind or self._turned(frame)
        return frame.detach()

    def _turned(self, frame: Tensor) -> bool:
        images = self._images
        return images.ndim == frame.ndim == 5 and torch.equal(frame, images.transpose(1, 2))

    def form(self) -> Form:
        """What the input is."""
        if self._images.ndim == 5:
            several = len(self._seen) > 1 or (self._is_single and bool(self._seen))
            return "sequence" if self._is_behind or (self._is_alone and several) else "images"
        # Channels may have convolutions of their own, and are channels still.
        return "stack" if self._is_alone and len(self._seen) > len(self._weights) else "images"
