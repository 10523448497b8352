"""Turns a volume's axes to axis codes, and resamples it to a spacing, as MONAI's ``Orientation`` and ``Spacing`` do.

The arithmetic is nibabel's ``io_orientation`` and MONAI's ``Spacing``, step by step, as rounding decides whether a side
of n + ½ voxels gets one more. Neither package is part of the default installation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pellucid.core.axes import CODES, axis_of
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import ShapeError

Array = npt.NDArray[np.float64]
_SAME = 1e-3
"""Spacings that differ by at most this many mm are taken as equal."""
_FLAT = 1e-6
"""A voxel of a smaller volume than this share of a box of its sides is flat: its axes are not three directions."""


def placed(
    pixels: Tensor, image: Image, orientation: str | None, spacing: Sequence[float] | None
) -> tuple[Tensor, Geometry]:
    """The pixels (C, D, H, W) of a volume with its axes turned and resampled linearly, and the geometry to there.

    ``orientation`` names where the axes of the result run to; ``spacing`` is in their order, in mm. None leaves either
    as it is.

    Raises:
        ShapeError: the image is no volume, or does not state where its axes lie in the patient; or the result would
            be too large.
    """
    asked = f"orientation {orientation}" if orientation is not None else f"spacing {_text(spacing or ())}"
    geometry, affine = image.geometry, _affine(image, asked)
    if orientation is not None:
        axes, mirrored = _turn(affine, orientation)
        pixels = pixels.flip([1 + axis for axis, turned in zip(axes, mirrored, strict=True) if turned])
        pixels = pixels.permute(0, *(1 + axis for axis in axes))
        step = Geometry.identity(geometry.target).turn(axes, mirrored)
        geometry, affine = geometry.turn(axes, mirrored), affine @ np.linalg.inv(_of_indices(step))
    if spacing is None:
        return pixels.contiguous(), geometry
    step = _resampling(tuple(pixels.shape[1:]), affine, np.array(spacing, dtype=np.float64))
    if step == Geometry.identity(step.source):
        return pixels.contiguous(), geometry
    resampled = step.inverse().sample(pixels.double()[None])[0]
    return resampled.float(), geometry.then(step.matrix, step.offset, step.target)


def _affine(image: Image, asked: str) -> Array:
    """The affine (4, 4) of a prepared or original volume, from indices in the order of its axes. ``ShapeError``."""
    if image.pixels.ndim != 4:
        raise ShapeError(
            f"{asked} was asked for; the image is 2-D, and only volumes are turned and resampled: leave out "
            "orientation= and spacing="
        )
    stated = image.original.affine
    if stated is None:
        raise ShapeError(
            f"{asked} was asked for; the volume does not state where its axes lie in the patient: leave out "
            "orientation= and spacing=, or give a file that states it"
        )
    affine = stated.double().numpy()
    linear = affine[:3, :3]
    with np.errstate(over="ignore", invalid="ignore"):
        box = float(np.prod(np.sqrt((linear**2).sum(axis=0))))
        is_solid = np.isfinite(affine).all() and abs(np.linalg.det(linear)) > _FLAT * box
    if not is_solid:
        raise ShapeError(
            f"{asked} was asked for; the volume's affine has no three directions: leave out orientation= and spacing=, "
            "or mend the affine"
        )
    turned: Array = affine[:, [2, 1, 0, 3]]  # from (slice, row, column)
    return turned @ np.linalg.inv(_of_indices(image.geometry))


def _of_indices(geometry: Geometry) -> Array:
    """A geometry as a matrix (4, 4) between indices, whose 0 is at the first pixel's centre."""
    whole = np.eye(4)
    whole[:3, :3] = geometry.matrix
    whole[:3, 3] = whole[:3, :3] @ np.full(3, 0.5) + geometry.offset - 0.5
    return whole


def _turn(affine: Array, orientation: str) -> tuple[list[int], list[bool]]:
    """The axis that runs along each of the codes, and whether it runs against it."""
    own = _directions(affine[:3, 2::-1])[::-1]  # in the order of the file, which decides where two axes are as close
    axes = [[axis for axis, _ in own].index(axis_of(code)) for code in orientation]
    return axes, [CODES[axis_of(code)][own[axis][1]] != code for code, axis in zip(orientation, axes, strict=True)]


def _directions(linear: Array) -> list[tuple[int, bool]]:
    """The axis of the patient that each column follows most closely, each once, and whether along it."""
    left, _, right = np.linalg.svd(linear / np.sqrt((linear**2).sum(axis=0)))
    rotation = left @ right  # the closest without shear
    found: dict[int, tuple[int, bool]] = {}
    for column in np.argsort(np.min(-(rotation**2), axis=0), kind="stable"):
        row = int(np.argmax(np.abs(rotation[:, column])))
        found[int(column)] = row, bool(rotation[row, column] > 0)
        rotation[row] = 0
    return [found[column] for column in range(3)]


def _resampling(size: tuple[int, ...], affine: Array, spacing: Array) -> Geometry:
    """The step from a grid to one of another spacing, with the same first axis, and no shear.

    Its first voxel is at the corner of the grid from which all others lie ahead; where shear leaves none, the middles
    are put on one another.
    """
    linear = affine[:3, :3]
    own = np.sqrt((linear**2).sum(axis=0))
    wanted = np.where(np.abs(own - spacing) <= _SAME, own, spacing)
    target = np.eye(4)
    upper = np.linalg.cholesky(linear.T @ linear).T
    target[:3, :3] = linear @ np.linalg.inv(upper) @ np.diag(wanted)
    ends = np.array(list(product(*((0.0, side - 1.0) for side in size)))).T
    corners = (np.linalg.solve(target, affine) @ np.concatenate([ends, np.ones_like(ends[:1])]))[:3]
    sides = np.round(np.ptp(corners, axis=1) + 1.0)
    if not math.prod(sides.tolist()) <= MAX_PIXELS:
        raise ShapeError(
            f"spacing {_text(spacing)} was asked for; the volume would have {_text(sides, ' × ')} voxels, and at most "
            f"{MAX_PIXELS:,} are allowed: give a larger spacing"
        )
    matrix = np.linalg.solve(target, affine)[:3, :3]
    if np.allclose(matrix, np.eye(3), atol=_SAME) and tuple(sides) == size:
        return Geometry.identity(size)
    first = next((corner for corner in corners.T if np.allclose((corners.T - corner).min(axis=0), 0, rtol=_SAME)), None)
    middle = np.array(size) / 2
    start = np.linalg.solve(target, affine @ [*middle, 1])[:3] - sides / 2 if first is None else first
    # From indices to positions, whose 0 is half a voxel before the first index.
    shift = np.linalg.solve(target, affine)[:3, 3] - start + 0.5 - matrix @ np.full(3, 0.5)
    whole = tuple(int(side) for side in sides)
    rows = tuple(tuple(float(value) for value in row) for row in matrix)
    return Geometry.identity(size).then(rows, [float(value) for value in shift], whole)


def _text(values: Sequence[float] | Array, sign: str = ",") -> str:
    return sign.join(f"{value:g}" for value in values)
