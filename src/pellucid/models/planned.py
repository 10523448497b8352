"""Prepares an image as nnU-Net 2 does: axes, crop to non-zero values, normalisation, resampling by splines.

The formulas are those of nnU-Net's ``DefaultPreprocessor``, in its order; skimage's ``resize``, which it resamples by,
is SciPy's ``zoom`` on grid cells within the range of the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import ShapeError
from pellucid.models.orientation import placed
from pellucid.models.plans import Plans, Scheme, new_size

Array = npt.NDArray[np.float64]
_SMALLEST = 1e-8
_ANISOTROPY = 3.0
"""The ratio of spacings above which the axis of the largest one is resampled by itself."""
_LEVELS = 255.0


def planned(image: Image, plans: Plans) -> tuple[Tensor, Tensor, Geometry]:
    """The pixels, the normalised values (C, *space), and the geometry to there.

    Raises:
        ShapeError: the image has other channels, is no volume or no photograph, or does not state its spacing; or the
            result would be too large.
    """
    _check(image, plans)
    measured, pixels, geometry = image.values.float(), image.pixels.float(), image.geometry
    if plans.spacing is None:  # a photograph's levels
        measured = pixels * _LEVELS
    if plans.orientation is not None:
        measured, _ = placed(measured, image, plans.orientation, None)
        pixels, geometry = placed(pixels, image, plans.orientation, None)
    order = [0, *(1 + axis for axis in plans.axes)]
    measured, pixels = measured.permute(order), pixels.permute(order)
    geometry = geometry.turn(plans.axes, [False] * len(plans.axes))
    spacing = _spacing(image, geometry)
    start, size = _box(measured)
    inside = (slice(None), *(slice(first, first + side) for first, side in zip(start, size, strict=True)))
    measured, pixels, geometry = measured[inside], pixels[inside], geometry.crop(start, size)
    values = [_NORMALISATIONS[one.name](each, one) for each, one in zip(_arrays(measured), plans.schemes, strict=True)]
    wanted = size if plans.spacing is None else new_size(size, spacing, plans.spacing)
    if not all(wanted) or math.prod(wanted) > MAX_PIXELS:
        made = " × ".join(map(str, wanted))
        raise ShapeError(f"the plans' spacing was asked for; the volume would have {made} voxels: check its spacing")
    if wanted != size:
        values = [_resampled(each, wanted, spacing, plans) for each in values]
        shown = [_resampled(each, wanted, spacing, plans) for each in _arrays(pixels)]
        pixels, geometry = _tensor(shown).clamp(0, 1), geometry.resize(wanted)
    return pixels, _tensor(values), geometry


def _check(image: Image, plans: Plans) -> None:
    channels, space = image.values.shape[0], image.values.ndim - 1
    if space != len(plans.axes):
        what = "volume (C, D, H, W)" if len(plans.axes) == 3 else "image (C, H, W)"
        raise ShapeError(f"plans of {plans.configuration} were given; a {what} was expected, got {image!r}")
    if channels != len(plans.schemes):
        raise ShapeError(
            f"plans of {plans.configuration} were given; {len(plans.schemes)} channels were expected, got {channels}; "
            "give an image of that many channels"
        )
    if plans.spacing is not None and image.original.affine is None:
        raise ShapeError(
            f"plans of {plans.configuration} were given; the volume does not state its spacing: give a file that "
            "states it"
        )


def _spacing(image: Image, geometry: Geometry) -> tuple[float, ...]:
    """The spacing of the turned axes in mm; 1 where the image is no volume."""
    if image.original.affine is None or len(geometry.target) == 2:
        return (1.0,) * len(geometry.target)
    own = image.original.affine.double()[:3, :3].flip(1)  # from (slice, row, column)
    step = own @ torch.linalg.inv(torch.tensor(geometry.matrix, dtype=torch.float64))
    return tuple(step.norm(dim=0).tolist())


def _box(values: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Start and size of the smallest box around the positions where a channel is not 0; of all, where none is."""
    found = (values != 0).any(0)
    axes = range(found.ndim)
    ends = [found.any(dim=[other for other in axes if other != axis]).nonzero() for axis in axes]
    if not len(ends[0]):
        return (0,) * found.ndim, tuple(found.shape)
    start = tuple(int(each[0]) for each in ends)
    return start, tuple(int(each[-1]) + 1 - first for each, first in zip(ends, start, strict=True))


def _arrays(channels: Tensor) -> list[Array]:
    return [channel.double().numpy() for channel in channels]


def _tensor(channels: Sequence[Array]) -> Tensor:
    return torch.from_numpy(np.stack(channels).astype(np.float32))


def _z_score(values: Array, _: Scheme) -> Array:
    made: Array = (values - values.mean()) / max(values.std(), _SMALLEST)
    return made


def _ct(values: Array, scheme: Scheme) -> Array:
    made: Array = (np.clip(values, scheme.low, scheme.high) - scheme.mean) / max(scheme.std, _SMALLEST)
    return made


def _rescaled(values: Array, _: Scheme) -> Array:
    lifted: Array = values - values.min()
    made: Array = lifted / max(lifted.max(), _SMALLEST)
    return made


def _levels(values: Array, _: Scheme) -> Array:
    return values / _LEVELS


def _unchanged(values: Array, _: Scheme) -> Array:
    return values


_NORMALISATIONS: Mapping[str, Callable[[Array, Scheme], Array]] = {
    "ZScoreNormalization": _z_score,
    "CTNormalization": _ct,
    "RescaleTo01Normalization": _rescaled,
    "RGBTo01Normalization": _levels,
    "NoNormalization": _unchanged,
}


def _resampled(values: Array, size: tuple[int, ...], spacing: tuple[float, ...], plans: Plans) -> Array:
    axis = _own_axis(spacing, plans)
    if axis is None:
        return _resized(values, size, plans.order)
    within = [side for at, side in enumerate(size) if at != axis]
    slices = [_resized(one, within, plans.order) for one in np.moveaxis(values, axis, 0)]
    stacked = np.stack(slices, axis)
    if stacked.shape == size:
        return stacked
    return _along(stacked, axis, size, plans.order_z)


def _along(values: Array, axis: int, size: tuple[int, ...], order: int) -> Array:
    if order:
        return _zoomed(values, size, order)
    old, new = values.shape[axis], size[axis]
    nearest = np.floor(old / new * (np.arange(new) + 0.5)).astype(int)  # SciPy's way with the middle between two
    made: Array = np.take(values, nearest.clip(0, old - 1), axis)
    return made


def _own_axis(spacing: tuple[float, ...], plans: Plans) -> int | None:
    """The axis that is resampled by itself: the one of the largest spacing, where it is much larger."""
    wanted = plans.spacing or spacing
    for each in (spacing, wanted):
        apart = max(each) / min(each) > _ANISOTROPY if plans.separate is None else plans.separate
        if apart:
            largest = [axis for axis, length in enumerate(each) if length == max(each)]
            return largest[0] if len(largest) == 1 else None
    return None


def _resized(values: Array, size: Sequence[int], order: int) -> Array:
    if values.shape == tuple(size):
        return values
    made: Array = np.clip(_zoomed(values, size, order), values.min(), values.max())
    return made


def _zoomed(values: Array, size: Sequence[int], order: int) -> Array:
    from scipy import ndimage  # which takes a while to import

    factors = [new / old for new, old in zip(size, values.shape, strict=True)]
    made: Array = ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)
    return made
