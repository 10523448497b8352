"""The targets of a call: which scores are explained, for its images, and with the head that its network has."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from pellucid.core.head import returned, score_names
from pellucid.core.inputs import Inputs
from pellucid.core.target import Request, Targets
from pellucid.models.session.session import Session


def targets_of(request: Request, classes: tuple[str, ...] | None, inputs: Inputs) -> Targets:
    """What a caller asks for, with the names of the classes, where known; checked against the images as they are given.

    Raises:
        TargetError: it does not fit the number of images, or their size.
    """
    is_array = hasattr(request, "__array__") and getattr(request, "ndim", 0) > 0
    given = torch.as_tensor(request) if is_array and not isinstance(request, Tensor) else request
    return Targets(given, classes).fitted(len(inputs), inputs.images.shape[2:])


def read_by(session: Session, image: Inputs, targets: Targets) -> Targets:
    """The targets with the head that the session's network turns out to have, and the names of its scores."""
    known = session.known(image)
    head = session.resolved_head(image)
    names = score_names(targets.classes, head, known.classes)
    return replace(targets, head=head, classes=names, returned=partial(returned, head=head, ending=known.ending))
