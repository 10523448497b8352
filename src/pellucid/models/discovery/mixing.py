"""Whether a network mixes the images of a batch, by its scores of an image alone and beside another.

Batch normalisation without statistics of its own does, a network that standardises its input by the mean of the whole
batch, and attention that takes the axis of images for that of tokens (``batch_first`` the wrong way round). Then the
gradient of one image's score reaches the others, and copies of an image with parts hidden change each other's scores.
"""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.models.discovery.scenes import scenes
from pellucid.models.session.cache import remembered
from pellucid.models.session.session import Session

_LEAST = 0.01
"""Scores that another image in the batch moves by less than this fraction of what another image in its place does."""
_MOST_VALUES = 2**19
"""The most values of an image that is passed beside another although the caller has given one."""
_TF32 = 2**-10
_ROUNDING = 30
"""So many units of a number's precision are rounding: passes of one and of two images add up in other orders."""


def mixing(session: Session, images: Inputs) -> float:
    """How much an image's scores move with another one beside it, as a fraction of their change from one to the other.

    0 where that is no more than rounding, as in quantised networks, which round by the batch's range; where passes hold
    one image; where the caller gave one that is large, or a volume, of which two may not fit into memory; and where it
    cannot be measured. It is measured once for a model and an input shape, since it is the structure that mixes, at 3
    forward passes of one generated image.
    """
    if session.runtime.batch_size == 1 or session.is_quantised or _is_large(images.images):
        return 0.0
    image = images[:1]
    key = ("mixing", session.key(image))
    return remembered(session.model, key, lambda: _measured(session, session.prepared(image)))


def _is_large(images: Tensor) -> bool:
    return len(images) == 1 and (images.ndim > 4 or images.numel() > _MOST_VALUES)


def _measured(session: Session, image: Inputs) -> float:
    pair = image.with_images(scenes((0, 1), image.images))
    with torch.no_grad(), suppress(Exception):  # a network that takes no such images
        alone, both = session.call(pair[:1]), session.call(pair)
        draws = session.known(pair).draws  # other numbers for a batch of another size
        return 0.0 if draws else _moved(alone.double(), both.double(), _ROUNDING * _precision(both, pair.images))
    return 0.0


def _moved(alone: Tensor, both: Tensor, rounding: float) -> float:
    """The change of the first image's scores, over that from the first image's to the second's."""
    moved, apart = float((both[:1] - alone).abs().max()), float((both[1:] - alone).abs().max())
    return moved / apart if moved > max(rounding * float(both.abs().max()), _LEAST * apart) else 0.0


def _precision(*tensors: Tensor) -> float:
    """The unit of the coarsest of some tensors' numbers, next to 1; GPUs multiply in TF32."""
    units = [torch.finfo(one.dtype).eps for one in tensors if one.is_floating_point()]
    return max(*units, _TF32 if tensors[0].device.type != "cpu" else 0.0)
