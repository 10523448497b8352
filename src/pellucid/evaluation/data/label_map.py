"""Label maps: files in which each pixel or voxel has the number of the label that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from pellucid import io
from pellucid.core.image import Image
from pellucid.errors import DataError, PellucidError, message_of
from pellucid.evaluation.data.mask_file import check_position, levels_of
from pellucid.evaluation.data.outlines import shown


@dataclass(frozen=True)
class LabelMap:
    """A file of the image's size, such as NIfTI; a finding is where it has one of ``levels``, or, without any, not 0.

    Its mask is empty where the image does not have the label: that is a statement, not a mistake.
    """

    path: Path
    levels: tuple[int, ...] = ()

    def mask(self, image: Image) -> Tensor:
        """The pixels or voxels of the levels.

        Raises:
            DataError: the file is missing or cannot be read, has another size than the image, or lies elsewhere.
        """
        try:
            state = self.path.stat()
            found, numbers = _read(self.path, state.st_mtime_ns, state.st_size)
        except (PellucidError, OSError) as error:
            raise DataError("its label map cannot be read", message_of(error)) from None
        if found.size != image.size:
            raise DataError(
                "its label map has another size than the image",
                f"{shown(found.size)}; the image has {shown(image.size)}",
            )
        check_position(found, image)
        return torch.isin(numbers, torch.tensor(self.levels)) if self.levels else numbers != 0


@lru_cache(maxsize=1)  # the labels of an image are asked for one after the other
def _read(path: Path, *state: int) -> tuple[Image, Tensor]:  # noqa: ARG001  (of the key)
    """A label map and its numbers (*space) int64, as the file was at a time."""
    found = io.read(path)
    return found, levels_of(found).round().long()
