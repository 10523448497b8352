"""Turn the errors that networks raise for unsuitable images into errors of one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from pellucid.errors import OutputError, PellucidError, is_out_of_memory


@contextmanager
def explained_refusals(batch: Tensor) -> Iterator[None]:
    """Raise ``OutputError`` for any error of a network, such as for images of an unsuitable size."""
    try:
        yield
    except PellucidError:
        raise
    except Exception as error:  # a network is anyone's code
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        cure = "take a smaller batch_size=" if is_out_of_memory(error) else "check its preprocessing"
        shape = tuple(batch.shape[1:])
        raise OutputError(f"the model failed on images of shape {shape} ({reason}): {cure}") from error
