"""An image of random pixels."""

import torch

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image


def random_image(*shape: int) -> Image:
    """An image of this shape (C, *space), the same in each call."""
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return Image(pixels, pixels, Geometry.identity(shape[1:]), {"file": "a"})
