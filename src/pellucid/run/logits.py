"""A network's raw outputs of a batch as it is, before anything is changed."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs, chunks
from pellucid.models.session.session import Session


def clean_logits(session: Session, inputs: Inputs) -> Tensor:
    """The raw outputs of the clean images."""
    found = []
    with torch.no_grad():
        for start, stop in chunks(len(inputs), session.runtime.batch_size):
            found.append(session.call(session.prepared(inputs[start:stop])))
    return torch.cat(found)


def like_logits(session: Session, image: Inputs, count: int) -> Tensor:
    """Raw outputs of the shape of those of several images: one image's again and again."""
    with torch.no_grad():
        one = session.call(image)
    return one.expand(count, *one.shape[1:])
