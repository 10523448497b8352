"""JPEG: what lossy compression leaves of an image (ITU-T T.81)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.changes._channels import is_grey
from pellucid.core.change import Change, register_change

_BEST = 100
_RGB = 3


@register_change("jpeg")
@dataclass(frozen=True)
class JPEG(Change):
    """Compression as JPEG of quality 100 − ``strength``, by libjpeg's tables, and decompression.

    Grey images, and those of other than three channels, are compressed as grey ones, each channel by itself; volumes
    slice by slice. Values are rounded to 256 levels first. A strength of 0 is no compression, not quality 100.
    """

    unit: ClassVar[str] = "100 − quality"
    levels: ClassVar[tuple[float, ...]] = (10.0, 25.0, 50.0, 75.0, 90.0)
    strongest: ClassVar[float] = 99.0

    strength: float = 50.0

    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002  # draws nothing
        """Pixels after compression."""
        levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        return torch.stack([self._image(image) for image in levels]).to(pixels) / 255

    def _image(self, image: Tensor) -> Tensor:
        """An image or volume (C, *space) uint8."""
        if image.ndim > _RGB:
            return torch.stack([self._image(part) for part in image.unbind(1)], dim=1)
        if is_grey(image):
            return self._file(image[0]).expand(image.shape)
        if len(image) == _RGB:
            return self._file(image.movedim(0, -1)).movedim(-1, 0)
        return torch.stack([self._file(channel) for channel in image])

    def _file(self, image: Tensor) -> Tensor:
        """An image (H, W) or (H, W, 3) uint8, compressed and decompressed."""
        file = io.BytesIO()
        Image.fromarray(image.contiguous().numpy()).save(file, format="JPEG", quality=_BEST - round(self.strength))
        return torch.from_numpy(np.array(Image.open(file)))
