"""Maps that were made before, from their files: .npy arrays, or the .npz that ``pellucid explain`` writes."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.core.archive import load_explanation
from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.metric import Takes
from pellucid.errors import DataError, message_of
from pellucid.export.case import file_label
from pellucid.io.refusal import one_line
from pellucid.run.judged_maps import form_of, maps_of

_MOST_BYTES = 2**29
"""The most bytes that a map may have when it is unpacked."""
_ARRAY = "heatmap.npy"
ARCHIVE = "explanation.npz"
"""How the names of archives end that ``pellucid explain`` writes."""
_MOST_CLASSES = 4096
NO_NUMBERS = "the map made before is no array of numbers"
BROKEN = "the map made before cannot be used"
MISSING = "there is no map made before"
OTHER_CLASS = "the maps made before hold none of this class"
NOT_FINITE = "the map made before holds values that are not finite"
OTHER_SIZE = "the map made before has neither the image's size nor that of the model's input"


def read_map(path: Path, image: Image, index: int, label: str) -> dict[Takes, Tensor]:
    """The map (*space) of a class of an image, on the grid of the network's input, in the forms that metrics take.

    An array has the size of the grid, or that of the image as it was read. Of an Explanation's archive the map of class
    ``index`` is taken; where no model says which class that is (−1), the one that is called ``label``, or its only one.
    A path without a file stands for the archives of several classes beside it (``of_classes``).

    Raises:
        DataError: it is missing, is no map, or is of another size or class.
    """
    try:
        if not path.is_file():
            return _of_one_class(path, image, index, label)
        if path.suffix == ".npz" and _is_explanation(path):
            return _of_explanation(path, image, index, label)
        found = torch.from_numpy(np.array(_array(path, image), dtype=np.float32))
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy's header parser raise errors of many kinds
        raise DataError(BROKEN, one_line(message_of(error))) from None
    if not bool(found.isfinite().all()):
        raise DataError(NOT_FINITE)
    maps = maps_of(_on_grid(found, image)[None, None], (1, 1, *image.size))
    return {takes: one[0, 0] for takes, one in maps.items()}


def of_classes(path: Path) -> Iterator[Path]:
    """The archives ``NAME_CLASS_explanation.npz`` beside a path that ends in NAME."""
    begin, end = f"{path.name}_", f"_{ARCHIVE}"
    if path.parent.is_dir():
        with os.scandir(path.parent) as entries:
            yield from (
                path.parent / entry.name
                for entry in entries
                if entry.name.startswith(begin) and entry.name.endswith(end) and entry.is_file(follow_symlinks=False)
            )


def _of_one_class(path: Path, image: Image, index: int, label: str) -> dict[Takes, Tensor]:
    """The map of a class among the archives of several; its name in the file's is the one that the archive states."""
    found = sorted(of_classes(path))[:_MOST_CLASSES]
    if not found:
        raise DataError(MISSING)
    for one in found:
        if not _is_explanation(one):
            continue
        archive = load_explanation(one)
        name = archive.label(0)
        is_own = one.name.removeprefix(f"{path.name}_").removesuffix(f"_{ARCHIVE}").endswith(file_label(name))
        if is_own and _column(archive, index, label) is not None:
            return _of_explanation(one, image, index, label)
    raise DataError(OTHER_CLASS)


def _column(found: Explanation, index: int, label: str) -> int | None:
    """The column of a class; None if the archive does not have it."""
    columns = found.targets[0].tolist()
    if index >= 0:
        return columns.index(index) if index in columns else None
    named = [column for column in range(len(columns)) if found.label(0, column) == label]
    return named[0] if named else 0 if len(columns) == 1 and found.classes is None else None


def _of_explanation(path: Path, image: Image, index: int, label: str) -> dict[Takes, Tensor]:
    found = load_explanation(path)
    column = _column(found, index, label) if len(found.targets) == 1 else None
    if column is None:
        raise DataError(OTHER_CLASS)
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


def _array(path: Path, image: Image) -> Any:
    """The array of a map. Its header is checked before memory is taken: it may state any size."""
    if path.suffix == ".npy":
        found = np.lib.format.open_memmap(path, mode="r")  # of objects, and so pickled, it refuses
        _check(found.shape, found.dtype, image)
        return found
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        name = _ARRAY if _ARRAY in names else names[0]
        with archive.open(name) as file:
            _check(*_header(file), image)
        with archive.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the dtype that an array in a file states."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], image: Image) -> None:
    """Raise ``DataError`` unless an array holds numbers and has the size of the image or of the network's input."""
    if dtype.kind not in "fiub":
        raise DataError(NO_NUMBERS, one_line(str(dtype)))
    rank = len(image.size)
    if shape[-rank:] not in (image.size, image.original.size) or any(side != 1 for side in shape[:-rank]):
        raise DataError(OTHER_SIZE, one_line(str(shape)))


def _on_grid(found: Tensor, image: Image) -> Tensor:
    """A map on the grid of the network's input; one of the image's own size is resampled linearly."""
    values = found.reshape(found.shape[-len(image.size) :])
    if tuple(values.shape) == image.size:
        return values
    return image.geometry.inverse().sample(values[None, None])[0, 0]
