"""Whether a network's scores leave the range of probabilities, where what they are made of cannot be followed."""

from __future__ import annotations

from contextlib import suppress

import torch

from pellucid.core.head import HEADS
from pellucid.core.inputs import Inputs
from pellucid.models.discovery.scenes import scenes
from pellucid.models.session.cache import remembered_while
from pellucid.models.session.session import Session

_SCENES = 3
_CONTRASTS = (1, -10, 100, -1000)
"""The generated images' contrasts: scores of one logit may keep their sign for all usual ones."""


def leaves_range(session: Session, image: Inputs) -> bool:
    """Whether a score of a generated image is below 0 or above 1, so that the scores are no probabilities.

    It is found once for a model, its parameters and an input shape, at up to 12 forward passes of one image.
    """
    key = ("range", session.key(image))
    return remembered_while(session.model, key, session.weights, lambda: _leaves(session, image[:1]))


def _leaves(session: Session, image: Inputs) -> bool:
    with torch.no_grad(), suppress(Exception):  # a network that takes no such images
        return any(
            _is_outside(session, image.with_images(contrast * scenes([number], image.images)))
            for number in range(_SCENES)
            for contrast in _CONTRASTS
        )
    return False


def _is_outside(session: Session, image: Inputs) -> bool:
    values = HEADS[session.head_for(session.known(image))].raw(session.call(image))
    return bool(((values < 0) | (values > 1)).any())
