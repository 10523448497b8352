"""Grey images that a network gets as several equal channels stay grey."""

from __future__ import annotations

from torch import Tensor


def is_grey(image: Tensor) -> bool:
    """Whether all channels of an image (C, *space) are equal."""
    return bool((image == image[:1]).all())
