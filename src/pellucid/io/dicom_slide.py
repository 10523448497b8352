"""Puts the tiles of a whole-slide DICOM object together to its total pixel matrix (PS3.3 C.8.12.4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydicom import Dataset, FileDataset
from torch import Tensor

from pellucid.core.limits import MAX_PIXELS
from pellucid.io.dicom_frames import header_of
from pellucid.io.dicom_pixels import decoded_frames, is_coloured
from pellucid.io.dicom_stack import Slice
from pellucid.io.memory import check_memory
from pellucid.io.refusal import refused
from pellucid.io.selection import NONE, Select, no_such, ordered, several, shown

_SIZE = ("TotalPixelMatrixRows", "TotalPixelMatrixColumns")
_MOST_CHOICES, _MOST_TILES = 2**17, 2**16
"""Tiles of all optical paths and focal planes, and of one: each takes some 0.1 ms, however small it is."""
_SMALLER = "give the file of a smaller level of its pyramid, or frame= for one tile"
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class _Tile:
    """A frame at its first row and column of the matrix, counted from 0, with what it shows there."""

    frame: Slice
    row: int
    column: int
    shows: Select


def is_slide(dataset: Dataset) -> bool:
    """Whether an object states a total pixel matrix, of which its frames are tiles."""
    return all(dataset.get(name) for name in _SIZE)


def check_matrix(path: Path, dataset: Dataset, tiles: int) -> None:
    """Check, before there is a header for each tile, that the total pixel matrix has an acceptable size.

    Raises:
        ImageError: it is too large, or in too many tiles.
    """
    rows, columns = (int(dataset[name].value) for name in _SIZE)
    _check_size(path, rows, columns)
    check_memory(path, 3 if is_coloured(dataset) else 1, 1, rows, columns)
    _check_tiles(path, tiles, _MOST_CHOICES)


def read_matrix(path: Path, dataset: FileDataset, frames: Sequence[Slice], select: Select) -> tuple[Tensor, Dataset]:
    """The total pixel matrix, (3, H, W) or (1, H, W), and a header of its size. Positions without a tile are white.

    Raises:
        ImageError: it is in too many tiles, a tile lies outside, or several are at a position and none was selected.
    """
    rows, columns = (int(dataset[name].value) for name in _SIZE)
    coloured = is_coloured(dataset)
    tiles = _chosen(path, list(_tiles(path, dataset, frames, columns)), select)
    _check_tiles(path, len(tiles), _MOST_TILES)
    matrix: Tensor | None = None
    numbers, headers = [tile.frame.number for tile in tiles], [tile.frame.header for tile in tiles]
    decoded = decoded_frames(path, dataset, headers, numbers, len(frames))
    for tile, frame in zip(tiles, decoded, strict=True):
        if matrix is None:
            matrix = torch.ones(frame.values.shape[0], rows, columns)
            if not coloured:
                matrix *= frame.values.max()
        place = matrix[:, tile.row : tile.row + dataset.Rows, tile.column : tile.column + dataset.Columns]
        place[:] = frame.values[:, : place.shape[1], : place.shape[2]]
    if matrix is None:
        raise refused(path, "it holds no tiles")
    return matrix, _header(tiles[0].frame.header, rows, columns)


def _check_size(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise refused(
            path,
            f"its slide has {rows} × {columns} pixels; at most {MAX_PIXELS:,} are read: {_SMALLER}",
        )


def _check_tiles(path: Path, tiles: int, most: int) -> None:
    if tiles > most:
        raise refused(path, f"its slide has {tiles:,} tiles; at most {most:,} are read: {_SMALLER}")


def _header(header: Dataset, rows: int, columns: int) -> Dataset:
    made = header_of(header)
    made.Rows, made.Columns = rows, columns
    for name in _GROUPS:
        if name in made:
            delattr(made, name)
    return made


def _tiles(path: Path, dataset: Dataset, frames: Sequence[Slice], columns: int) -> Iterator[_Tile]:
    """The tiles, by the positions that the frames state, else in the order of TILED_FULL."""
    stated = all("ColumnPositionInTotalImagePixelMatrix" in one.header for one in frames)
    each = _stated(frames) if stated else _in_full_order(path, dataset, frames, columns)
    height, width = (int(dataset[name].value) for name in _SIZE)
    for tile in each:
        if not (0 <= tile.row < height and 0 <= tile.column < width):
            raise refused(path, f"{tile.frame.name} is a tile outside its matrix of {height} × {width} pixels")
        yield tile


def _stated(frames: Sequence[Slice]) -> Iterator[_Tile]:
    for one in frames:
        header = one.header
        optical = header.get("OpticalPathIdentifier")
        shows = {"path": shown(optical), "focus": shown(header.get("ZOffsetInSlideCoordinateSystem"))}
        row, column = header.RowPositionInTotalImagePixelMatrix, header.ColumnPositionInTotalImagePixelMatrix
        yield _Tile(one, int(row) - 1, int(column) - 1, shows)


def _in_full_order(path: Path, dataset: Dataset, frames: Sequence[Slice], columns: int) -> Iterator[_Tile]:
    """The tiles of a full matrix: columns first, then rows, focal planes and optical paths (PS3.3 C.7.6.17.3)."""
    across = math.ceil(columns / int(dataset.Columns))
    down = math.ceil(int(dataset[_SIZE[0]].value) / int(dataset.Rows))
    planes = int(dataset.get("TotalPixelMatrixFocalPlanes") or 1)
    paths = [str(one.get("OpticalPathIdentifier") or NONE) for one in dataset.get("OpticalPathSequence") or ()] or [
        NONE
    ]
    if len(frames) != across * down * planes * len(paths):
        raise refused(
            path,
            f"its slide needs {down} × {across} tiles for each of {planes} planes and {len(paths)} optical paths, and "
            f"it holds {len(frames)}: give frame= for one tile",
        )
    for index, one in enumerate(frames):
        matrix, at = divmod(index, across * down)
        row, column = divmod(at, across)
        shows = {"path": paths[matrix // planes], "focus": str(matrix % planes + 1) if planes > 1 else NONE}
        yield _Tile(one, row * int(dataset.Rows), column * int(dataset.Columns), shows)


def _chosen(path: Path, tiles: list[_Tile], select: Select) -> list[_Tile]:
    """The tiles of one optical path and focal plane."""
    for name, value in select.items():
        has = [tile.shows[name] for tile in tiles if name in tile.shows]
        tiles = [tile for tile in tiles if tile.shows.get(name) == value]
        if not tiles:
            raise no_such(path, name, value, [one for one in has if one != NONE])
    values = {name: ordered(tile.shows[name] for tile in tiles) for name in ("path", "focus")}
    open_ = {name: each for name, each in values.items() if len(each) > 1}
    if open_:
        raise several(path, "its slide has several images", open_, {name: each[0] for name, each in open_.items()})
    return tiles
