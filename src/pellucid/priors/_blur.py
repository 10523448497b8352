"""The blur that priors share."""

from __future__ import annotations

import math

from torch import Tensor

from pellucid.core.numbers import is_number, shown
from pellucid.core.space import gaussian
from pellucid.errors import OptionError

_REACH = 4
"""The number of standard deviations at which the Gaussian is cut off."""


def check_sigma(sigma: float) -> None:
    """Raise ``OptionError`` unless a standard deviation, in sides of the image, is above 0 and at most 1."""
    if not is_number(sigma) or not 0 < sigma <= 1:
        raise OptionError(f"sigma must be above 0 and at most 1, in sides of the image, got {shown(sigma)}")


def grey(images: Tensor) -> Tensor:
    """The mean over the channels of images (B, C, *space), (B, *space) float32 at least."""
    return images.detach().float().mean(dim=1)


def blurred(maps: Tensor, sigma: float) -> Tensor:
    """Maps (B, *space), blurred by a Gaussian along each axis, whose σ is ``sigma`` times the side.

    Values beyond the edges are those at the edges.
    """
    for axis in range(1, maps.ndim):
        deviation = sigma * maps.shape[axis]
        reach = max(1, math.floor(_REACH * deviation + 0.5))
        maps = gaussian(maps, axis, deviation, reach, beyond="replicate")
    return maps
