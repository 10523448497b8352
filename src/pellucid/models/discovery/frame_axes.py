"""Fits the axes of a frame: along each, it follows an axis of the image in one or two affine pieces."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from torch import Tensor

from pellucid.core.view import FrameAxis

_CROPPED = 1.5
"""What a frame may leave out at each end, in its positions, and still count as the whole image."""
_MOST = 0.75
"""The share of the points that must lie on the pieces."""


def axis_through(places: Sequence[float], where: Tensor, space: Sequence[int]) -> FrameAxis | None:
    """The frame's axis with such places, which lie ``where`` (positions, B, rank) in images; None: nowhere fixed."""
    fits = [_fitted(places, where[:, number], space) for number in range(where.shape[1])]
    first = fits[0]
    if first is None:
        return None
    near = all(other is not None and agree(first, other, space[first.follows]) for other in fits)
    return first if near else None


def agree(one: FrameAxis, other: FrameAxis, side: int) -> bool:
    """Whether two axes show the same places of a ``side``, to a hundredth of it or a pixel."""
    if one.follows != other.follows or len(one.pieces) != len(other.pieces):
        return False
    return all(
        abs((scale - own) * x + offset - start) <= max(1.0, 0.01 * side) * abs(scale)
        for (scale, offset), (own, start) in zip(one.pieces, other.pieces, strict=True)
        for x in (0, side)
    )


def _fitted(places: Sequence[float], where: Tensor, space: Sequence[int]) -> FrameAxis | None:
    """One or two affine pieces through the points (place in the frame, position (rank) in one image)."""
    seen = [one for one in zip(places, where.tolist(), strict=True) if not any(map(math.isnan, one[1]))]
    known = [(place, point) for place, point in seen if all(map(math.isfinite, point))]
    if len(known) < 2:
        return None
    # Single points may be those of statistics, such as a percentile.
    follows = max(range(len(space)), key=lambda axis: _inner([point[axis] for _, point in known]) / space[axis])
    others = [(axis, max(2.0, 0.04 * space[axis])) for axis in range(len(space)) if axis != follows]
    middles = {axis: statistics.median(point[axis] for _, point in known) for axis, _ in others}
    kept = [one for one in known if all(abs(one[1][axis] - middles[axis]) <= near for axis, near in others)]
    if len(kept) < max(2, _MOST * len(seen)):
        return None
    if any(_spread([point[axis] for _, point in kept]) > near for axis, near in others):
        return None  # turned or sheared
    points = [(place, point[follows]) for place, point in kept]
    side = space[follows]
    slope = statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(points))
    pieces = _pieces(points, slope, side) if abs(slope) > 1e-3 else []
    return FrameAxis(follows, tuple((1 / slope, -start / slope) for slope, start in pieces)) if pieces else None


def _inner(values: Sequence[float]) -> float:
    """The spread of values without the lowest and the highest eighth of them."""
    aside = len(values) // 8
    return _spread(sorted(values)[aside : len(values) - aside])


def _spread(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _pieces(points: Sequence[tuple[float, float]], slope: float, side: int) -> list[tuple[float, float]]:
    """The pieces x = slope · u + start on which the points (u, x) lie, the one with most first; none: on no two."""
    most = _largest(points, slope, side)
    left = [point for point in points if point not in most]
    second = _largest(left, slope, side) if left else []
    main = _line(most, slope)
    # One point alone may be a margin's, unless it lies as far off as the image is long: a roll's.
    is_rolled = len(second) == 1 and abs(abs(_line(second, slope)[1] - main[1]) - side) <= 1
    second = second if len(second) > 1 or is_rolled else []
    known = len(most) + len(second) + _reflected([point for point in left if point not in second], slope, side)
    if len(most) < 2 or known < _MOST * len(points):
        return []
    return [main, _line(second, slope)] if second else [main]


def _reflected(points: Sequence[tuple[float, float]], slope: float, side: int) -> int:
    """How many points lie in margins that reflect the image, one on each side."""
    count = 0
    for _ in range(2):
        most = _largest(points, -slope, side) if points else []
        count += len(most) if len(most) > 1 else 0
        points = [point for point in points if point not in most]
    return count


def _largest(points: Sequence[tuple[float, float]], slope: float, side: int) -> list[tuple[float, float]]:
    """The most points that lie on one line of a slope, to within a hundredth of the image or a pixel."""
    starts = [x - slope * u for u, x in points]
    near = max(1.0, 0.01 * side)
    groups = [
        [point for point, other in zip(points, starts, strict=True) if abs(start - other) <= near] for start in starts
    ]
    return max(groups, key=len)


def _line(points: Sequence[tuple[float, float]], slope: float) -> tuple[float, float]:
    """The line through some points, by least squares; of one point, with the slope."""
    if len(points) < 3:
        return slope, statistics.fmean(x - slope * u for u, x in points)
    found = statistics.linear_regression([u for u, _ in points], [x for _, x in points])
    return found.slope, found.intercept


def is_whole(axis: FrameAxis, side: int, frame: int, kernel: int) -> bool:
    """Whether an axis shows the whole side, to within what a convolution's padding makes."""
    scale, offset = axis.pieces[0]
    margins = offset, frame - (scale * side + offset)
    is_one = len(axis.pieces) == 1 and scale > 0
    return is_one and all(-_CROPPED <= margin <= kernel / 2 + 1 for margin in margins)
