"""Draws studies without a network: images, masks and maps made before, whose hit rates are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
SIDE = 32
CENTRE = (0.45, 0.6)
"""Where findings lie on average, in sides of the image: beside the middle, so that the mean mask is the best prior."""
RADII = (3.0, 6.0)
MOST = 3
"""Each patient has 1 to so many findings, all equally likely, each on an image of its own."""
ALIKE = 0.5
"""The correlation of two findings of a patient: of their positions, and of whether a map hits them."""
LABELS = ("lesion", "nodule")


@dataclass(frozen=True, eq=False)
class Study:
    """N findings: images, masks and maps (N, side, side); ``patients`` and ``labels`` (N,) are texts."""

    patients: Sequence[str]
    labels: Sequence[str]
    images: NDArray[np.uint8]
    masks: Flags
    maps: dict[str, Array]

    def shuffled(self, partner: NDArray[np.int64]) -> Study:
        """The same study, each row with the mask of its partner; labels, images and maps stay."""
        return replace(self, masks=self.masks[partner])


def drawn(patients: int, spread: float, rates: dict[str, float], rng: Generator) -> Study:
    """A study of which each method's maps hit their finding with a known probability.

    Positions are normally distributed with the standard deviation ``spread``, in sides of the image.
    """
    number = np.repeat(np.arange(patients), rng.integers(1, MOST + 1, size=patients))
    masks = _discs(_together(number, 2, rng) * spread + np.array(CENTRE), rng)
    return Study(
        [f"P{one:03}" for one in number],
        [LABELS[one] for one in rng.integers(2, size=len(number))],
        rng.integers(256, size=(len(number), SIDE, SIDE), dtype=np.uint8),
        masks,
        {name: _maps(_peaks(masks, number, rate, rng)) for name, rate in rates.items()},
    )


def exchangeable(study: Study, names: Sequence[str], spread: float, rng: Generator) -> Study:
    """The same study with maps of each name from one distribution, that of the findings' positions."""
    count = len(study.patients)
    places = [_inside(rng.normal(CENTRE, spread, size=(count, 2)) * SIDE) for _ in names]
    return replace(study, maps={name: _maps(one) for name, one in zip(names, places, strict=True)})


def _together(number: NDArray[np.intp], columns: int, rng: Generator) -> Array:
    """Standard normal numbers (N, columns), two of a patient with the correlation ``ALIKE``."""
    of_patient = rng.normal(size=(number.max() + 1, columns))[number]
    own = rng.normal(size=(len(number), columns))
    return np.asarray(np.sqrt(ALIKE) * of_patient + np.sqrt(1 - ALIKE) * own)


def _discs(centres: Array, rng: Generator) -> Flags:
    """Masks (N, side, side): discs about centres (N, 2) in sides of the image."""
    radii = rng.uniform(*RADII, size=len(centres))
    places = np.clip(centres * SIDE, radii[:, None] - 0.5, SIDE - radii[:, None] - 0.5)
    return np.asarray(_squares(places) <= radii[:, None, None] ** 2)


def _squares(places: Array) -> Array:
    """The squared distance (N, side, side) of each pixel to places (N, 2), in pixels."""
    steps = np.arange(SIDE)
    down, across = (places[:, axis, None] - steps for axis in range(2))
    return np.asarray(down[:, :, None] ** 2 + across[:, None, :] ** 2)


def _peaks(masks: Flags, number: NDArray[np.intp], rate: float, rng: Generator) -> Array:
    """A pixel (N, 2) in each mask with the given probability, else beside it."""
    hits = ndtr(_together(number, 1, rng)[:, 0]) < rate
    wanted = np.where(hits[:, None, None], masks, ~masks).reshape(len(masks), -1)
    chosen = (rng.random(wanted.shape) * wanted).argmax(1)
    return np.stack(np.divmod(chosen, SIDE), axis=1).astype(np.float64)


def _inside(places: Array) -> Array:
    return np.clip(np.round(places), 0, SIDE - 1)


def _maps(peaks: Array) -> Array:
    """Maps (N, side, side) with the peak at a pixel, of a Gaussian's form."""
    return np.asarray(np.exp(-_squares(peaks) / (2 * 2.5**2)))
