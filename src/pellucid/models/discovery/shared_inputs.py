"""Which of a network's further inputs belong to all images, such as a set of prompts, and which to one image each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch

from pellucid.core.inputs import Inputs
from pellucid.errors import OptionError, ShapeError, message_of
from pellucid.models.session.cache import remembered
from pellucid.models.session.session import Session


def with_shared(session: Session, inputs: Inputs) -> Inputs:
    """The inputs with the names of those that all images share.

    These are the ones whose first axis is not the images'. Of those whose first axis may be the images', as with three
    prompts for three images, they are shared where the number of class scores grows with their number.

    Raises:
        ShapeError: the network does not take a number of further inputs that is not the images'.
    """
    others = [name for name in inputs.tensors if name != inputs.name]
    lengths = {name: len(inputs.tensors[name]) if inputs.tensors[name].ndim else None for name in others}
    unequal = frozenset(name for name in others if lengths[name] != len(inputs))
    known = replace(inputs, shared=unequal)
    if unequal:
        _check_taken(session, known, lengths)
    if len(unequal) == len(others):
        return known
    key = ("shared", session.key(known), tuple(lengths.items()))
    grows = remembered(session.model, key, lambda: _scores_grow(session, session.prepared(known)[:1]))
    return replace(inputs, shared=frozenset(others)) if grows else known


def _check_taken(session: Session, inputs: Inputs, lengths: dict[str, int | None]) -> None:
    """Raise unless the network takes one image with what is shared."""
    try:
        session.known(session.prepared(inputs)[:1])
    except OptionError:  # of the head
        raise
    except Exception as error:  # whatever the user's network raises, and outputs that are no class scores
        raise ShapeError(
            f"{len(inputs)} images were given with other inputs of {lengths}; inputs must have one entry for each "
            f"image, or be shared by all, and the model takes no single image with these ({message_of(error)})"
        ) from error


def _scores_grow(session: Session, one: Inputs) -> bool:
    """Whether two images with two entries each have more class scores than one with one."""
    raw = replace(session, head="probability")  # of one prompt, a binary head would make two scores
    with torch.no_grad():
        alone = raw.call(one)
        with suppress(Exception):  # of a network that takes one image at a time
            return alone.shape[1] < raw.call(one.repeated(2)).shape[1]
    return False
