"""Faithfulness metrics by their definitions: numpy, one case and one pixel at a time, no code of the metrics.

``score`` is a function of one image (C, *space) as an array to its score; maps are arrays (*space). Random numbers are
given: the permutation that breaks ties, the noise, the parts.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def pixels_of(space):
    return list(itertools.product(*(range(side) for side in space)))


def order(heat, permutation):
    """The pixels, highest first; equal ones as they stand in a permutation of their numbers."""
    place = {number: index for index, number in enumerate(permutation)}
    pixels = list(enumerate(pixels_of(heat.shape)))
    return [pixel for _, pixel in sorted(pixels, key=lambda one: (-heat[one[1]], place[one[0]]))]


def put(image, other, pixels):
    changed = image.copy()
    for pixel in pixels:
        for channel in range(len(image)):
            changed[(channel, *pixel)] = other[(channel, *pixel)]
    return changed


def zero(image):
    return np.zeros_like(image)


def mean(image):
    other = np.empty_like(image)
    for channel in range(len(image)):
        values = [float(image[(channel, *pixel)]) for pixel in pixels_of(image.shape[1:])]
        other[channel] = sum(values) / len(values)
    return other


def blur(image):
    """A Gaussian with an eighth of each side as its standard deviation, cut at a quarter, reflected at the edges."""
    other = np.zeros(image.shape)
    space = image.shape[1:]
    reach = [round(side / 4) for side in space]
    for pixel in pixels_of(space):
        total, weights = np.zeros(len(image)), 0.0
        for step in itertools.product(*(range(-one, one + 1) for one in reach)):
            there = tuple(mirrored(p + s, side) for p, s, side in zip(pixel, step, space, strict=True))
            exponent = sum(s**2 / (2 * (side / 8) ** 2) for s, side in zip(step, space, strict=True))
            total, weights = total + math.exp(-exponent) * image[(slice(None), *there)], weights + math.exp(-exponent)
        other[(slice(None), *pixel)] = total / weights
    return other.astype(image.dtype)


def mirrored(place, side):
    return abs(place) if place < side else 2 * (side - 1) - place


def deletion(score, image, heat, permutation, other, steps):
    """The scores with 0, 1, … parts of the pixels replaced."""
    ranked = order(heat, permutation)
    return [score(put(image, other, ranked[: round(k * len(ranked) / steps)])) for k in range(steps + 1)]


def insertion(score, image, heat, permutation, other, steps):
    """The scores with 0, 1, … parts of the pixels taken from the image."""
    ranked = order(heat, permutation)
    return [score(put(other, image, ranked[: round(k * len(ranked) / steps)])) for k in range(steps + 1)]


def area(scores):
    total = 0.0
    for left, right in itertools.pairwise(scores):
        total += (left + right) / 2 / (len(scores) - 1)
    return total


def aopc(scores):
    return sum(scores[0] - one for one in scores) / len(scores)


def average_drop(score, image, heat, other):
    before, after = score(image), score(heat * image + (1 - heat) * other)
    return max(0.0, before - after) / before


def increase_in_confidence(score, image, heat, other):
    return float(score(image) < score(heat * image + (1 - heat) * other))


def imputed(image, missing):
    """The linear equations of all missing pixels, solved as a dense system."""
    gone = [pixel for pixel in pixels_of(missing.shape) if missing[pixel]]
    numbers = {pixel: number for number, pixel in enumerate(gone)}
    matrix, right = np.zeros((len(gone), len(gone))), np.zeros((len(gone), len(image)))
    for pixel, row in numbers.items():
        for step in itertools.product((-1, 0, 1), repeat=missing.ndim):
            there = tuple(p + s for p, s in zip(pixel, step, strict=True))
            inside = all(0 <= p < side for p, side in zip(there, missing.shape, strict=True))
            if not any(step) or not inside:
                continue
            weight = math.prod(2 - abs(s) for s in step) / (4**missing.ndim - 2**missing.ndim)
            matrix[row, row] += weight
            if there in numbers:
                matrix[row, numbers[there]] -= weight
            else:
                right[row] += weight * image[(slice(None), *there)]
    found = image.astype(float)
    for pixel, values in zip(gone, np.linalg.solve(matrix, right) if gone else (), strict=True):
        found[(slice(None), *pixel)] = values
    return found


def road(score, image, heat, permutation, noises, *, lowest=False):
    """The mean change of the score over the shares 1/(n + 1) to n/(n + 1), with a noise (C, *space) for each."""
    ranked, changes = order(-heat if lowest else heat, permutation), []
    for k, noise in enumerate(noises, start=1):
        missing = np.zeros(heat.shape, bool)
        for pixel in ranked[: math.ceil(k * len(ranked) / (len(noises) + 1))]:
            missing[pixel] = True
        changed = imputed(image, missing) + np.where(missing, noise, 0)
        changes.append(score(changed.astype(image.dtype)) - score(image))
    return sum(changes) / len(changes)


def falls_and_sums(score, image, heat, parts, other):
    falls, sums = [], []
    for part in parts:
        pixels = [pixel for pixel in pixels_of(heat.shape) if part[pixel]]
        falls.append(score(image) - score(put(image, other, pixels)))
        sums.append(sum(float(heat[pixel]) for pixel in pixels))
    return falls, sums


def correlation(a, b):
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    above = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return above / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def infidelity(falls, sums):
    size = sum(one**2 for one in sums)
    best = sum(x * y for x, y in zip(falls, sums, strict=True)) / size if size else 0.0
    return sum((best * y - x) ** 2 for x, y in zip(falls, sums, strict=True)) / len(falls)


def top(heat, share, cell, permutation):
    """The pixels of the cells that are above 0 and highest."""
    grid = [range(0, side, cell) for side in heat.shape]
    cells = list(itertools.product(*grid))
    members = {start: [] for start in cells}
    for pixel in pixels_of(heat.shape):
        members[tuple(place // cell * cell for place in pixel)].append(pixel)
    means = {start: sum(float(heat[pixel]) for pixel in members[start]) / len(members[start]) for start in cells}
    place = {number: index for index, number in enumerate(permutation)}
    ranked = sorted(enumerate(cells), key=lambda one: (-means[one[1]], place[one[0]]))
    chosen = [start for _, start in ranked[: max(1, round(share * len(cells)))] if means[start] > 0]
    return [pixel for start in chosen for pixel in members[start]]
