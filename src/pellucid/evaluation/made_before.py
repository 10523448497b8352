"""Maps that were made before, from their files: .npy arrays, or the .npz that ``pellucid explain`` writes."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.archive import load_explanation
from pellucid.core.image import Image
from pellucid.core.metric import Takes
from pellucid.errors import DataError, PellucidError
from pellucid.io.refusal import one_line
from pellucid.run.judged_maps import form_of, maps_of

_MOST_BYTES = 2**29
"""The most bytes that a map may have when it is unpacked."""
_ARRAY = "heatmap"
BROKEN = "the map made before cannot be used"
OTHER_SIZE = "the map made before has neither the image's size nor that of the model's input"


def read_map(path: Path, image: Image, index: int) -> dict[Takes, Tensor]:
    """The map (*space) of a class of an image, on the grid of the network's input, in the forms that metrics take.

    An array has the size of the grid, or that of the image as it was read; of an Explanation's archive the map of class
    ``index`` is taken, or its only one where no class is known (−1).

    Raises:
        DataError: it is missing, is no map, or is of another size or class.
    """
    try:
        if not path.is_file():
            raise DataError("a map made before is missing")
        if path.suffix == ".npz" and _is_explanation(path):
            return _of_explanation(path, image, index)
        found = torch.from_numpy(np.array(_array(path), dtype=np.float32))
    except DataError:
        raise
    except (PellucidError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{BROKEN} ({one_line(str(error))})") from None
    maps = maps_of(_on_grid(found, image)[None, None], (1, 1, *image.size))
    return {takes: one[0, 0] for takes, one in maps.items()}


def _of_explanation(path: Path, image: Image, index: int) -> dict[Takes, Tensor]:
    found = load_explanation(path)
    columns = found.targets[0].tolist()
    if len(found.targets) != 1 or (index not in columns and (index >= 0 or len(columns) != 1)):
        raise DataError("the archive of maps made before does not hold the one of this class")
    column = columns.index(index) if index in columns else 0
    if tuple(found.heatmaps.shape[2:]) != image.size:
        raise DataError(OTHER_SIZE)
    forms: tuple[Takes, ...] = ("heatmaps", "attributions")
    return {takes: form_of(found, takes)[0, column] for takes in forms}


def _is_explanation(path: Path) -> bool:
    """Whether an archive is an Explanation's; ``DataError``: it is larger than a map can be."""
    with zipfile.ZipFile(path) as archive:
        if sum(one.file_size for one in archive.infolist()) > _MOST_BYTES:
            raise DataError("the archive of maps made before is too large")
        return "facts.npy" in archive.namelist()


def _array(path: Path) -> Any:
    found = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    if isinstance(found, np.ndarray):
        array = found
    else:
        with found:
            array = found[_ARRAY] if _ARRAY in found.files else found[found.files[0]]
    if array.dtype.kind not in "fiub" or array.nbytes > _MOST_BYTES:
        raise DataError(f"the map made before is an array of {array.dtype}, {array.nbytes} bytes, and no map")
    return array


def _on_grid(found: Tensor, image: Image) -> Tensor:
    """A map on the grid of the network's input; one of the image's own size is resampled linearly."""
    values = found[0] if found.ndim == len(image.size) + 1 and len(found) == 1 else found
    if tuple(values.shape) == image.size:
        return values
    if tuple(values.shape) != image.original.size or not math.prod(values.shape):
        raise DataError(OTHER_SIZE)
    return image.geometry.inverse().sample(values[None, None])[0, 0]
