"""Naive replicas of the priors: scipy's blur, and loops over pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy.ndimage import gaussian_filter


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """The mean of an image's channels (C, *space), blurred."""
    grey = image.astype(np.float64).mean(0)
    return gaussian_filter(grey, [sigma * side for side in grey.shape], mode="nearest", truncate=4)


def edges(image, sigma=0.02):
    found = smooth(image, sigma)
    slopes = [np.gradient(found, axis=axis) for axis in range(found.ndim) if found.shape[axis] > 1]
    return np.sqrt(sum(one**2 for one in slopes))


def darkest(image, sigma=0.05):
    found = smooth(image, sigma)
    return found.max() - found


def brightest(image, sigma=0.05):
    found = smooth(image, sigma)
    return found - found.min()


def centre(image, sigma=0.25):
    space = image.shape[1:]
    out = np.zeros(space)
    for one in itertools.product(*(range(side) for side in space)):
        distance = sum(((x - (side - 1) / 2) / (sigma * side)) ** 2 for x, side in zip(one, space, strict=True))
        out[one] = math.exp(-distance / 2)
    return out


def mean_mask(masks: np.ndarray, sigma=0.02):
    mean = masks.astype(np.float64).mean(0)
    return gaussian_filter(mean, [sigma * side for side in mean.shape], mode="nearest", truncate=4)


def along(values: list[float], side: int) -> list[float]:
    """Values of cells along an axis, linear between their central pixels and constant beyond."""
    centres = [math.floor((cell + 0.5) * side / len(values)) for cell in range(len(values))]
    return np.interp(range(side), centres, values).tolist()


def random(grid: np.ndarray, space) -> np.ndarray:
    out = grid
    for axis, side in enumerate(space):
        out = np.apply_along_axis(lambda row, side=side: np.array(along(row.tolist(), side)), axis, out)
    return out
