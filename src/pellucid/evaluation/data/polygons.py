"""Fills polygons: which pixels have their centre inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from pellucid.errors import DataError

Point = tuple[float, float]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_FEWEST = 3
"""The corners of a triangle."""
_MOST_POINTS = 2**20
_MOST_CROSSINGS = 2**28
"""The most times that edges cross rows of pixels: an outline of 10,000 points in an image of 4,096 rows has fewer."""
_CHUNK = 2**20
"""So many crossings are held at a time."""


def filled(polygon: Sequence[Point], height: int, width: int) -> Flags:
    """Whether the centre of each pixel is inside a polygon, (height, width) bool.

    ``polygon`` are its corners (x, y), closed from the last to the first. The pixel in column c and row r has its
    centre at (c + .5, r + .5), so that a rectangle holds the same pixels as the box of its corners. Where the polygon
    overlaps itself, a pixel is inside if a ray from it crosses the polygon an odd number of times.

    >>> filled([(1, 0), (3, 0), (3, 2), (1, 2)], 2, 4).astype(int)
    array([[0, 1, 1, 0],
           [0, 1, 1, 0]])

    Raises:
        DataError: it has fewer than 3 corners, coordinates that are not finite, or too many corners or crossings.
    """
    points = _checked(polygon)
    toggles = np.zeros(height * (width + 1), dtype=bool)
    for rows, columns in _crossings(points, height, width):
        np.logical_xor.at(toggles, rows * (width + 1) + columns, True)
    inside: Flags = np.logical_xor.accumulate(toggles.reshape(height, width + 1), axis=1)[:, :width]
    return inside


def _checked(polygon: Sequence[Point]) -> Floats:
    """The corners (N, 2), of which neighbours differ."""
    if not _FEWEST <= len(polygon) <= _MOST_POINTS:
        raise DataError("its polygon has too few or too many corners", f"{len(polygon):,} corners")
    points = np.asarray(polygon, dtype=np.float64)
    if points.shape != (len(polygon), 2) or not bool((np.abs(points) < 2.0**31).all()):
        raise DataError("its polygon has coordinates that are no numbers of pixels")
    return points


def _crossings(points: Floats, height: int, width: int) -> Iterator[tuple[Indices, Indices]]:
    """The row of each crossing of an edge with the line through the row's centres, and the first column behind it."""
    start, end = points, np.roll(points, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first, behind = (np.clip(np.ceil(side - 0.5), 0, height).astype(np.int64) for side in (low, high))
    counts = behind - first
    if counts.sum() > _MOST_CROSSINGS:
        raise DataError("its polygon has too few or too many corners", f"{len(points):,} corners, far apart")
    for part in _parts(counts):
        edges = np.repeat(np.arange(part.start, part.stop), counts[part])
        within = np.arange(len(edges)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        rows = first[edges] + within
        share = (rows + 0.5 - start[edges, 1]) / (end[edges, 1] - start[edges, 1])
        x = start[edges, 0] + share * (end[edges, 0] - start[edges, 0])
        yield rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)


def _parts(counts: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Runs of edges with about ``_CHUNK`` crossings each."""
    total = np.cumsum(counts)
    edges = np.searchsorted(total, np.arange(_CHUNK, total[-1] + _CHUNK, _CHUNK)) + 1
    begin = 0
    for stop in np.unique(np.minimum(edges, len(counts))).tolist():
        yield slice(begin, stop)
        begin = stop
