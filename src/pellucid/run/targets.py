"""The targets of a call: which scores of its images are explained."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.core.target import Request, Targets


def targets_of(request: Request, classes: tuple[str, ...] | None, inputs: Inputs) -> Targets:
    """What a caller asks for, with the names of the classes, where known; checked against the images as they are given.

    Raises:
        TargetError: it does not fit the number of images, or their size.
    """
    is_array = hasattr(request, "__array__") and getattr(request, "ndim", 0) > 0
    given = torch.as_tensor(request) if is_array and not isinstance(request, Tensor) else request
    return Targets(given, classes).fitted(len(inputs), inputs.images.shape[2:])
