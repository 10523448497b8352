"""Why a network or a method fails on an image: one image never ends a run, lack of memory does."""

from __future__ import annotations

import torch

from pellucid.errors import PellucidError, message_of
from pellucid.io.refusal import one_line

NO_MEMORY = "memory ran out: give a smaller batch_size=… and run the same command again, which goes on from here"


def reason_of(error: Exception) -> str:
    """The reason for which one image has no map, or no prediction.

    Raises:
        PellucidError: memory ran out, which says nothing of the image.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        raise PellucidError(NO_MEMORY) from error
    if isinstance(error, PellucidError):
        return one_line(str(error)).rstrip(".")
    return f"the network or the method raises {type(error).__name__}: {one_line(message_of(error))}"
